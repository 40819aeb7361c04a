package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// function is the state that shows which instance answered, and what it saw.
type function struct {
	token    string // of this process
	served   atomic.Int64
	canceled atomic.Int64
	wedged   atomic.Int64 // until then, Unix nanoseconds
	waiting  atomic.Int64
	ticks    meeting
	meet     meeting
}

// register adds the paths. Numbers are in the query.
//
//	/health         204, or no answer while the process is wedged
//	/wedge?ms=      wedges it for so long
//	/token          {"token","served","waiting","canceled"} of this process
//	/version        the version, see version.go
//	/hold           the version at once; again when the request's body has ended
//	/events         server-sent events: one at once, one at each /tick
//	/tick           makes every /events send one
//	/websocket      echoes text messages
//	/wait           never answers; counts the callers that went away
//	/meet?n=        answers when n callers are there at the same time
//	/leave?ms=      answers, and the process exits ms later
//	/endless?ms=    a byte every ms, for ever
//	/request        the request as it arrived
//	/link?old=&new= replaces the file new by a symbolic link to old
func (f *function) register(mux *http.ServeMux) {
	for path, serve := range map[string]http.HandlerFunc{
		"/health": f.health, "/wedge": f.wedge, "/token": f.tell, "/version": tellVersion, "/hold": f.hold, "/events": f.events, "/tick": f.tick,
		"/websocket": websocket, "/wait": f.wait, "/meet": f.meeting, "/leave": f.leave, "/endless": endless,
		"/request": request, "/link": link,
	} {
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			f.served.Add(1)
			serve(w, r)
		})
	}
}

func number(r *http.Request, name string) int {
	n, _ := strconv.Atoi(r.URL.Query().Get(name))
	return n
}

func reply(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v)
}

func (f *function) tell(w http.ResponseWriter, _ *http.Request) {
	reply(w, map[string]any{
		"token": f.token, "served": f.served.Load(), "waiting": f.waiting.Load(), "canceled": f.canceled.Load(),
	})
}

func (f *function) health(w http.ResponseWriter, r *http.Request) {
	select {
	case <-time.After(time.Until(time.Unix(0, f.wedged.Load()))):
		w.WriteHeader(http.StatusNoContent)
	case <-r.Context().Done():
	}
}

func (f *function) wedge(w http.ResponseWriter, r *http.Request) {
	f.wedged.Store(time.Now().Add(time.Duration(number(r, "ms")) * time.Millisecond).UnixNano())
	reply(w, f.token)
}

func tellVersion(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, version()) }

func (f *function) hold(w http.ResponseWriter, r *http.Request) {
	control := http.NewResponseController(w)
	if err := control.EnableFullDuplex(); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	fmt.Fprintln(w, version())
	_ = control.Flush()
	if _, err := io.Copy(io.Discard, r.Body); err != nil {
		panic(http.ErrAbortHandler)
	}
	fmt.Fprintln(w, version())
}

// A meeting lets callers wait for each other.
type meeting struct {
	mu      sync.Mutex
	present int
	changed chan struct{}
}

// enter adds n to the number present and wakes whoever waits.
func (m *meeting) enter(n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.present += n
	if m.changed != nil {
		close(m.changed)
		m.changed = nil
	}
}

// look returns the number present and what is closed when it changes.
func (m *meeting) look() (int, <-chan struct{}) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.changed == nil {
		m.changed = make(chan struct{})
	}
	return m.present, m.changed
}

// await returns false when the caller went away first.
func (m *meeting) await(r *http.Request, n int) bool {
	for {
		present, changed := m.look()
		if present >= n {
			return true
		}
		select {
		case <-changed:
		case <-r.Context().Done():
			return false
		}
	}
}

func (f *function) events(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream")
	seen, _ := f.ticks.look()
	for n := 0; ; n++ {
		fmt.Fprintf(w, "data: %d\n\n", n)
		if err := http.NewResponseController(w).Flush(); err != nil {
			return
		}
		if !f.ticks.await(r, seen+n+1) {
			return
		}
	}
}

func (f *function) tick(w http.ResponseWriter, _ *http.Request) {
	f.ticks.enter(1)
	reply(w, map[string]string{"token": f.token})
}

func (f *function) wait(_ http.ResponseWriter, r *http.Request) {
	f.waiting.Add(1)
	<-r.Context().Done()
	f.waiting.Add(-1)
	f.canceled.Add(1)
}

// meeting never lets its count sink: who came after the others had met would
// else wait for ever.
func (f *function) meeting(w http.ResponseWriter, r *http.Request) {
	f.meet.enter(1)
	if f.meet.await(r, number(r, "n")) {
		reply(w, map[string]string{"token": f.token})
	}
}

func (f *function) leave(w http.ResponseWriter, r *http.Request) {
	reply(w, map[string]string{"token": f.token})
	time.AfterFunc(time.Duration(number(r, "ms"))*time.Millisecond, func() { os.Exit(3) })
}

func endless(w http.ResponseWriter, r *http.Request) {
	ticker := time.NewTicker(time.Duration(number(r, "ms")) * time.Millisecond)
	defer ticker.Stop()
	for {
		if _, err := io.WriteString(w, "."); err != nil {
			return
		}
		if err := http.NewResponseController(w).Flush(); err != nil {
			return
		}
		select {
		case <-ticker.C:
		case <-r.Context().Done():
			return
		}
	}
}

// Request is the answer of /request.
type Request struct {
	Method string      `json:"method"`
	URI    string      `json:"uri"`
	Host   string      `json:"host"`
	Header http.Header `json:"header"`
}

func request(w http.ResponseWriter, r *http.Request) {
	reply(w, Request{r.Method, r.RequestURI, r.Host, r.Header})
}

func link(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	_ = os.RemoveAll(q.Get("new"))
	answer := map[string]string{"error": ""}
	if err := os.Symlink(q.Get("old"), q.Get("new")); err != nil {
		answer["error"] = err.Error()
	}
	reply(w, answer)
}
