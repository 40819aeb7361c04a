package guest

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"sync/atomic"
	"time"
)

// Handler returns the guest's HTTP interface for process p. Numbers are given
// in the query; a missing one is 0.
//
//	/hello                 "hello"
//	/echo                  the request's body, while it still comes
//	/digest                {"bytes","sha256"} of the request's body
//	/bytes?n=&seed=        n bytes of Pattern
//	/halfclose             takes the connection over, reads to its end, then answers
//	/info                  Info
//	/file?path=            the content of a file
//	/write?path=&bytes=    Result of writing that many bytes
//	/dial?network=&addr=   Result of connecting
//	/alloc?mib=            touches and keeps that much memory
//	/burn?ms=&procs=       {"cpu"} nanoseconds used while burning for ms
//	/fork?n=               {"started","error"}: children that sleep
//	/print?bytes=&err=     writes Pattern of seed 1 to an output, in the background
//	/printed               {"bytes"} written by all /print so far
//	/say?text=&err=        writes one line to an output
//	/sleep?ms=             answers after ms, or never when the client goes
//	/exit?code=            ends the process
//	/crash                 ends the process by SIGSEGV
func Handler(p Process) http.Handler {
	g := &handler{p: p}
	mux := http.NewServeMux()
	for path, serve := range map[string]func(http.ResponseWriter, *http.Request) error{
		"/hello": g.hello, "/echo": g.echo, "/digest": g.digest, "/bytes": g.bytes,
		"/halfclose": g.halfClose, "/info": g.info, "/file": g.file, "/write": g.write,
		"/dial": g.dial, "/alloc": g.alloc, "/burn": g.burn, "/fork": g.fork,
		"/print": g.print, "/printed": g.printed, "/say": g.say, "/sleep": g.sleep,
		"/exit": g.exit, "/crash": g.crash,
	} {
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			if err := serve(w, r); err != nil {
				http.Error(w, err.Error(), http.StatusInternalServerError)
			}
		})
	}
	return mux
}

type handler struct {
	p        Process
	bytesOut atomic.Int64
	kept     atomic.Pointer[[][]byte]
}

func number(r *http.Request, name string) int64 {
	n, _ := strconv.ParseInt(r.URL.Query().Get(name), 10, 64)
	return n
}

func reply(w http.ResponseWriter, v any) error {
	w.Header().Set("Content-Type", "application/json")
	return json.NewEncoder(w).Encode(v)
}

func (g *handler) hello(w http.ResponseWriter, _ *http.Request) error {
	_, err := io.WriteString(w, "hello")
	return err
}

func (g *handler) echo(w http.ResponseWriter, r *http.Request) error {
	control := http.NewResponseController(w)
	if err := control.EnableFullDuplex(); err != nil {
		return err
	}
	buf := make([]byte, 32<<10)
	for {
		n, err := r.Body.Read(buf)
		if _, werr := w.Write(buf[:n]); werr != nil {
			return werr
		}
		if ferr := control.Flush(); ferr != nil {
			return ferr
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			panic(http.ErrAbortHandler)
		}
	}
}

// Digest is the answer of /digest.
type Digest struct {
	Bytes  int64  `json:"bytes"`
	SHA256 string `json:"sha256"`
}

// DigestOf reads r to its end.
func DigestOf(r io.Reader) (Digest, error) {
	h := sha256.New()
	n, err := io.Copy(h, r)
	return Digest{Bytes: n, SHA256: hex.EncodeToString(h.Sum(nil))}, err
}

func (g *handler) digest(w http.ResponseWriter, r *http.Request) error {
	d, err := DigestOf(r.Body)
	if err != nil {
		return err
	}
	return reply(w, d)
}

func (g *handler) bytes(w http.ResponseWriter, r *http.Request) error {
	n := number(r, "n")
	w.Header().Set("Content-Length", strconv.FormatInt(n, 10))
	_, err := io.Copy(w, Pattern(number(r, "seed"), n))
	return err
}

func (g *handler) halfClose(w http.ResponseWriter, _ *http.Request) error {
	conn, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return err
	}
	defer conn.Close()
	d, err := DigestOf(buffered)
	if err != nil {
		return nil
	}
	_, _ = fmt.Fprintf(conn, "%d %s\n", d.Bytes, d.SHA256)
	return nil
}

func (g *handler) print(w http.ResponseWriter, r *http.Request) error {
	out := g.output(r)
	n := number(r, "bytes")
	go func() { _, _ = io.Copy(&countingWriter{out, &g.bytesOut}, Pattern(1, n)) }()
	return reply(w, map[string]int64{"bytes": n})
}

func (g *handler) output(r *http.Request) io.Writer {
	if r.URL.Query().Has("err") {
		return g.p.Stderr
	}
	return g.p.Stdout
}

type countingWriter struct {
	w io.Writer
	n *atomic.Int64
}

func (c *countingWriter) Write(b []byte) (int, error) {
	n, err := c.w.Write(b)
	c.n.Add(int64(n))
	return n, err
}

func (g *handler) printed(w http.ResponseWriter, _ *http.Request) error {
	return reply(w, map[string]int64{"bytes": g.bytesOut.Load()})
}

func (g *handler) say(w http.ResponseWriter, r *http.Request) error {
	_, err := fmt.Fprintln(g.output(r), r.URL.Query().Get("text"))
	return err
}

func (g *handler) sleep(w http.ResponseWriter, r *http.Request) error {
	timer := time.NewTimer(time.Duration(number(r, "ms")) * time.Millisecond)
	defer timer.Stop()
	select {
	case <-timer.C:
		_, err := io.WriteString(w, "slept")
		return err
	case <-r.Context().Done():
		return nil
	case <-g.p.Done:
		return nil
	}
}

func (g *handler) exit(_ http.ResponseWriter, r *http.Request) error {
	g.p.Exit(int(number(r, "code")))
	return nil
}

func (g *handler) crash(http.ResponseWriter, *http.Request) error {
	g.p.Crash()
	return nil
}

func (g *handler) file(w http.ResponseWriter, r *http.Request) error {
	data, err := os.ReadFile(r.URL.Query().Get("path"))
	if err != nil {
		return err
	}
	_, err = w.Write(data)
	return err
}
