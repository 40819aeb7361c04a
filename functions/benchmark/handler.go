package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/unifaas/unifaas/functions/benchmark/workload"
)

// The largest inputs: each keeps its workload within minutes and memory.
const (
	maxFib    = 10_000_000_000
	maxFFT    = 1 << 23
	maxMatrix = 4096
	maxAlloc  = 1 << 20
	maxStatic = 1 << 40
)

// handler serves the workloads; archive is the path of the file that /read and
// /unzip take.
func handler(archive string) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/hello", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "Hello from Go\n")
	})
	mux.HandleFunc("/static", static)
	mux.HandleFunc("/echo", echo)
	mux.HandleFunc("/fib", measured("n", maxFib, func(n int64) (any, error) { return workload.Fib(n), nil }))
	mux.HandleFunc("/fft", prepared("n", maxFFT, func(n int64) (func() any, error) { return workload.FFTOfNoise(int(n)) }))
	mux.HandleFunc("/matrix", prepared("n", maxMatrix, func(n int64) (func() any, error) {
		return workload.ProductOfNoise(int(n)), nil
	}))
	mux.HandleFunc("/alloc", measured("mib", maxAlloc, func(n int64) (any, error) { return workload.Alloc(n), nil }))
	mux.HandleFunc("/read", measured("", 0, func(int64) (any, error) { return workload.Read(archive) }))
	mux.HandleFunc("/unzip", measured("", 0, func(int64) (any, error) { return workload.Unzip(archive) }))
	return mux
}

// An answer is what a workload's path returns.
type answer struct {
	N       int64   `json:"n,omitempty"`
	Seconds float64 `json:"seconds"`
	Result  any     `json:"result"`
}

// measured serves a workload that takes one number, whole.
func measured(name string, most int64, work func(n int64) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		n, err := parameter(r, name, most)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		begin := time.Now()
		result, err := work(n)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		reply(w, answer{n, time.Since(begin).Seconds(), result})
	}
}

// prepared serves a workload whose input is made before the clock starts.
func prepared(name string, most int64, prepare func(n int64) (func() any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		n, err := parameter(r, name, most)
		var work func() any
		if err == nil {
			work, err = prepare(n)
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		begin := time.Now()
		result := work()
		reply(w, answer{n, time.Since(begin).Seconds(), result})
	}
}

// parameter returns the named number of r's query, which is to be from 1 to
// most. The empty name stands for none.
func parameter(r *http.Request, name string, most int64) (int64, error) {
	if name == "" {
		return 0, nil
	}
	text := r.URL.Query().Get(name)
	if text == "" {
		return 0, fmt.Errorf("%s is missing: write %s?%s=NUMBER", name, r.URL.Path, name)
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 1 || n > most {
		return 0, fmt.Errorf("%s=%q is not a whole number from 1 to %d", name, text, most)
	}
	return n, nil
}

func reply(w http.ResponseWriter, a answer) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(a) // a client that has gone away needs no answer
}

// block is what /static's bodies are made of.
var block = func() []byte {
	b := make([]byte, 64<<10)
	for i := range b {
		b[i] = 'a' + byte(i%26)
	}
	return b
}()

func static(w http.ResponseWriter, r *http.Request) {
	size := int64(64)
	if r.URL.RawQuery != "" {
		var err error
		if size, err = parameter(r, "size", maxStatic); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
	}
	w.Header().Set("Content-Type", "text/plain")
	w.Header().Set("Content-Length", strconv.FormatInt(size, 10))
	for size > 0 {
		n, err := w.Write(block[:min(size, int64(len(block)))])
		if err != nil {
			return
		}
		size -= int64(n)
	}
}

// echo sends each piece of the body back as it comes.
func echo(w http.ResponseWriter, r *http.Request) {
	control := http.NewResponseController(w)
	if err := control.EnableFullDuplex(); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	if contentType := r.Header.Get("Content-Type"); contentType != "" {
		w.Header().Set("Content-Type", contentType)
	}
	buf := make([]byte, 32<<10)
	for {
		n, err := r.Body.Read(buf)
		if n > 0 {
			if _, err := w.Write(buf[:n]); err != nil {
				return
			}
			if err := control.Flush(); err != nil {
				return
			}
		}
		if err == io.EOF {
			return
		}
		if err != nil {
			panic(http.ErrAbortHandler) // the answer must not look complete
		}
	}
}
