package sandboxtest

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"

	"github.com/unifaas/unifaas/internal/sandbox/sandboxtest/guest"
)

var httpCases = []testCase{
	{name: "ManyConnections", run: manyConnections},
	{name: "BigBodies", run: bigBodies},
	{name: "FullDuplex", run: fullDuplex},
	{name: "HalfClose", needs: []Promise{HalfClose}, run: halfClose},
	{name: "ConnectionsAreIndependent", run: connectionsAreIndependent},
	{name: "GarbageComesThrough", run: garbageComesThrough},
	{name: "HalfAResponseComesThrough", run: halfAResponseComesThrough},
}

func manyConnections(f *fixture) {
	r := f.start()
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for range 8 {
				if got, err := r.request(f.ctx(), http.MethodGet, "/hello", nil); err != nil || got != "hello" {
					f.Errorf("GET /hello: got %q, %v", got, err)
				}
			}
		})
	}
	wg.Wait()
}

// bigBodies sends and fetches more than any buffer on the way holds.
func bigBodies(f *fixture) {
	const n = 24 * mib
	r := f.start()
	want, err := guest.DigestOf(guest.Pattern(5, n))
	if err != nil {
		f.Fatal(err)
	}
	answer, err := r.request(f.ctx(), http.MethodPost, "/digest", guest.Pattern(5, n))
	if err != nil {
		f.Fatalf("POST /digest: %v", err)
	}
	var got guest.Digest
	if err := json.Unmarshal([]byte(answer), &got); err != nil || got != want {
		f.Errorf("the instance got %+v (%v), want %+v", got, err, want)
	}
	if got, err = guest.DigestOf(strings.NewReader(r.get(query("/bytes", "n", n, "seed", 5)))); err != nil || got != want {
		f.Errorf("the instance sent %+v (%v), want %+v", got, err, want)
	}
}

// fullDuplex wants each piece of a body back before it sends the next.
func fullDuplex(f *fixture) {
	r := f.start()
	body, send := io.Pipe()
	req, err := http.NewRequestWithContext(f.ctx(), http.MethodPost, "http://guest/echo", body)
	if err != nil {
		f.Fatal(err)
	}
	go func() { _, _ = io.WriteString(send, "first\n") }()
	resp, err := r.client.Do(req)
	if err != nil {
		f.Fatalf("POST /echo: %v", err)
	}
	defer resp.Body.Close()
	lines := bufio.NewReader(resp.Body)
	for _, next := range []string{"first\n", "second\n", "third\n"} {
		if next != "first\n" {
			if _, err := io.WriteString(send, next); err != nil {
				f.Fatal(err)
			}
		}
		if got, err := lines.ReadString('\n'); got != next {
			f.Fatalf("echo: got %q, %v; want %q", got, err, next)
		}
	}
	_ = send.Close()
	if rest, err := io.ReadAll(lines); err != nil || len(rest) > 0 {
		f.Errorf("after the body's end: %q, %v", rest, err)
	}
}

func halfClose(f *fixture) {
	r := f.start()
	conn, err := r.Dial(f.ctx())
	if err != nil {
		f.Fatalf("Dial: %v", err)
	}
	defer conn.Close()
	half, ok := conn.(interface{ CloseWrite() error })
	if !ok {
		f.Fatalf("Dial: a %T has no CloseWrite", conn)
	}
	const n = 1 * mib
	if _, err := io.WriteString(conn, "GET /halfclose HTTP/1.1\r\nHost: guest\r\n\r\n"); err != nil {
		f.Fatal(err)
	}
	if _, err := io.Copy(conn, guest.Pattern(9, n)); err != nil {
		f.Fatalf("send: %v", err)
	}
	if err := half.CloseWrite(); err != nil {
		f.Fatalf("CloseWrite: %v", err)
	}
	want, err := guest.DigestOf(guest.Pattern(9, n))
	if err != nil {
		f.Fatal(err)
	}
	answer, err := io.ReadAll(conn)
	if got := string(answer); err != nil || got != fmt.Sprintf("%d %s\n", want.Bytes, want.SHA256) {
		f.Errorf("after the half-close: got %q, %v; want %+v", got, err, want)
	}
}

// connectionsAreIndependent keeps one connection blocked while another works.
func connectionsAreIndependent(f *fixture) {
	r := f.start()
	blocked, err := r.Dial(f.ctx())
	if err != nil {
		f.Fatalf("Dial: %v", err)
	}
	defer blocked.Close()
	if _, err := fmt.Fprintf(blocked, "GET /bytes?n=%d HTTP/1.1\r\nHost: guest\r\n\r\n", 64*mib); err != nil {
		f.Fatal(err)
	}
	for range 4 {
		r.wantHello()
	}
}

func garbageComesThrough(f *fixture) {
	r := f.start(env(guest.ModeEnv, guest.ModeGarbage))
	if answer, err := r.request(f.ctx(), http.MethodGet, "/", nil); err == nil {
		f.Errorf("garbage was taken for the answer %q", answer)
	}
	wantAlive(r)
}

func halfAResponseComesThrough(f *fixture) {
	r := f.start(env(guest.ModeEnv, guest.ModeHalf))
	if answer, err := r.request(f.ctx(), http.MethodGet, "/", nil); err == nil {
		f.Errorf("half a response was taken for the answer %q", answer)
	}
	wantAlive(r)
}

func wantAlive(r *running) {
	r.f.Helper()
	select {
	case <-r.Done():
		r.f.Errorf("the instance ended: %v", r.Wait())
	default:
	}
}
