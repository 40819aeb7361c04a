package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// An answer is a response, read to its end.
type answer struct {
	status int
	header http.Header
	body   string
}

// httpClient neither follows redirects nor uses a proxy.
var httpClient = &http.Client{
	Transport:     &http.Transport{MaxIdleConnsPerHost: 64, DisableCompression: true},
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

// fetch sends one request. It never waits for longer than patience.
func fetch(ctx context.Context, method, url string, body io.Reader) (answer, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, url, body)
	if err != nil {
		return answer{}, err
	}
	return send(req)
}

func send(req *http.Request) (answer, error) {
	resp, err := httpClient.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	a := answer{status: resp.StatusCode, header: resp.Header}
	text, err := io.ReadAll(resp.Body)
	a.body = string(text)
	return a, err
}

// at returns the URL of a path of a function.
func (p *platform) at(function, path string) string {
	return "http://" + p.status.Gateway + "/invoke/" + function + path
}

func (p *platform) get(t testing.TB, function, path string) answer {
	t.Helper()
	a, err := fetch(t.Context(), "GET", p.at(function, path), nil)
	if err != nil {
		t.Fatalf("GET %s of %s: %v", path, function, err)
	}
	return a
}

// want sends a GET that must be answered with 200, and returns the body.
func (p *platform) want(t testing.TB, function, path string) string {
	t.Helper()
	a := p.get(t, function, path)
	if a.status != 200 {
		t.Fatalf("GET %s of %s: %d %s, want 200", path, function, a.status, a.body)
	}
	return a.body
}

// wantJSON is want for an answer in JSON.
func wantJSON[T any](t testing.TB, p *platform, function, path string) (v T) {
	t.Helper()
	body := p.want(t, function, path)
	if err := json.Unmarshal([]byte(body), &v); err != nil {
		t.Fatalf("GET %s of %s: %q: %v", path, function, body, err)
	}
	return v
}

// told is the answer of /token.
type told struct {
	Token    string `json:"token"`
	Served   int    `json:"served"`
	Waiting  int    `json:"waiting"`
	Canceled int    `json:"canceled"`
}

// A document is a problem document (RFC 9457).
type document struct {
	Type     string `json:"type"`
	Title    string `json:"title"`
	Status   int    `json:"status"`
	Detail   string `json:"detail"`
	Instance string `json:"instance"`
}

// wantProblem checks that a is a problem document of the given status whose
// detail holds all of says.
func wantProblem(t testing.TB, a answer, status int, says ...string) document {
	t.Helper()
	var d document
	if err := json.Unmarshal([]byte(a.body), &d); err != nil {
		t.Errorf("answered %d %q: no problem document: %v", a.status, a.body, err)
		return d
	}
	if got := a.header.Get("Content-Type"); got != "application/problem+json" {
		t.Errorf("Content-Type %q, want application/problem+json", got)
	}
	if a.status != status || d.Status != status {
		t.Errorf("status %d, in the document %d (%s), want %d", a.status, d.Status, d.Detail, status)
	}
	if d.Type == "" || d.Title == "" || d.Instance == "" {
		t.Errorf("problem document %+v has empty fields", d)
	}
	for _, s := range says {
		if !strings.Contains(d.Detail, s) {
			t.Errorf("problem %q does not say %q", d.Detail, s)
		}
	}
	return d
}

// A load sends GETs without end, and notes what was not as it should be.
type load struct {
	cancel  context.CancelFunc
	workers sync.WaitGroup

	mu       sync.Mutex
	answered int
	failures []string
}

// startLoad has each worker send a GET to url, wait for pause, and so on. check
// says what is wrong with an answer; nil means that all but 200 is.
func startLoad(url string, workers int, pause time.Duration, check func(answer) error) *load {
	if check == nil {
		check = func(a answer) error {
			if a.status != 200 {
				return fmt.Errorf("status %d: %s", a.status, a.body)
			}
			return nil
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	l := &load{cancel: cancel}
	for range workers {
		l.workers.Go(func() {
			for ctx.Err() == nil {
				// Not under ctx: what was sent must be answered.
				a, err := fetch(context.Background(), "GET", url, nil)
				if err == nil {
					err = check(a)
				}
				l.note(err)
				select {
				case <-ctx.Done():
				case <-time.After(pause):
				}
			}
		})
	}
	return l
}

func (l *load) note(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err == nil {
		l.answered++
	} else {
		l.failures = append(l.failures, fmt.Sprintf("%s: %v", time.Now().Format(time.TimeOnly+".000"), err))
	}
}

// count returns how many requests were answered well so far, and how many not.
func (l *load) count() (answered, failed int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.answered, len(l.failures)
}

// stop ends the load after the requests under way. It may be called again.
func (l *load) stop() {
	l.cancel()
	l.workers.Wait()
}

// wantNoFailure stops the load and fails the test if a request was lost.
func (l *load) wantNoFailure(t testing.TB, whose string) {
	t.Helper()
	l.stop()
	answered, failed := l.count()
	if failed > 0 {
		t.Errorf("%s: %d of %d requests failed, first: %s", whose, failed, answered+failed,
			strings.Join(l.failures[:min(5, failed)], "\n  "))
	}
	if answered == 0 {
		t.Errorf("%s: no request was answered", whose)
	}
}

// more waits until the load has had n more good answers.
func (l *load) more(t testing.TB, n int) {
	t.Helper()
	begin, _ := l.count()
	eventually(t, fmt.Sprintf("%d more answers", n), func() bool {
		now, _ := l.count()
		return now >= begin+n
	})
}

// eventually waits until done says so.
func eventually(t testing.TB, what string, done func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for !done() {
		if time.Now().After(deadline) {
			t.Fatalf("waited for %s for %v in vain", what, patience)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// held is a request whose body the test ends when it likes.
type held struct {
	body   *io.PipeWriter
	answer chan answer
	err    chan error
	first  chan string // the answer's first line
}

// hold sends a request to /hold and returns when its first line is there.
func (p *platform) hold(t testing.TB, function string) *held {
	t.Helper()
	r, w := io.Pipe()
	h := &held{w, make(chan answer, 1), make(chan error, 1), make(chan string, 1)}
	go h.run(p.at(function, "/hold"), r)
	select {
	case line := <-h.first:
		h.first <- line
	case err := <-h.err:
		t.Fatalf("hold a request to %s: %v", function, err)
	case <-time.After(patience):
		t.Fatalf("hold a request to %s: no answer", function)
	}
	return h
}

func (h *held) run(url string, body io.Reader) {
	req, err := http.NewRequest("POST", url, body)
	if err != nil {
		h.err <- err
		return
	}
	resp, err := httpClient.Do(req)
	if err != nil {
		h.err <- err
		return
	}
	defer resp.Body.Close()
	if resp.StatusCode != 200 {
		text, _ := io.ReadAll(resp.Body)
		h.err <- fmt.Errorf("status %d: %s", resp.StatusCode, text)
		return
	}
	var text bytes.Buffer
	buf := make([]byte, 1)
	for {
		n, err := resp.Body.Read(buf)
		text.Write(buf[:n])
		if n == 1 && buf[0] == '\n' && bytes.Count(text.Bytes(), []byte("\n")) == 1 {
			h.first <- strings.TrimSuffix(text.String(), "\n")
		}
		if err == io.EOF {
			h.answer <- answer{resp.StatusCode, resp.Header, text.String()}
			return
		}
		if err != nil {
			h.err <- err
			return
		}
	}
}

// finish ends the request's body and returns the lines of its answer.
func (h *held) finish(t testing.TB) []string {
	t.Helper()
	if err := h.body.Close(); err != nil {
		t.Fatal(err)
	}
	select {
	case a := <-h.answer:
		return strings.Split(strings.TrimSuffix(a.body, "\n"), "\n")
	case err := <-h.err:
		t.Fatalf("the held request failed: %v", err)
	case <-time.After(patience):
		t.Fatal("the held request was not answered")
	}
	return nil
}
