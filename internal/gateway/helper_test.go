package gateway

import (
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sys/unix"

	"github.com/unifaas/unifaas/internal/faas"
)

// helperEnv names what this binary does instead of testing.
const helperEnv = "GATEWAY_TEST_HELPER"

func newRegistry() *prometheus.Registry { return prometheus.NewRegistry() }

// runHelper runs what a test started this binary again for.
func runHelper() bool {
	var err error
	switch os.Getenv(helperEnv) {
	case "":
		return false
	case "descriptors":
		err = outOfDescriptors()
	case "duplicates":
		err = noDuplicate()
	}
	if err != nil {
		fmt.Println("failed:", err)
		os.Exit(1)
	}
	return true
}

// noDuplicate has the gateway get the last descriptor for a connection to a
// function, so that no loop can look after it, and checks that it is used, but
// not kept, and that there are loops for others again afterwards.
func noDuplicate() error {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	go func() { _ = http.Serve(ln, http.HandlerFunc(echo)) }()
	rev := &faas.Revision{Function: faas.Function{Ref: faas.NewRef("f"), Concurrency: 4}}
	i := newInstance(ln.Addr())
	g, err := New(Options{
		Catalog: testCatalog{"f": rev}, Pool: &testPool{instances: []*testInstance{i}},
		Registerer: newRegistry(), Listen: "127.0.0.1:0",
	})
	if err != nil {
		return err
	}
	var before unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &before); err != nil {
		return err
	}
	nc, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		return err
	}
	next, err := unix.Dup(0)
	if err != nil {
		return err
	}
	_ = unix.Close(next)
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: uint64(next), Max: before.Max}); err != nil {
		return err
	}
	u := g.connsOf(&testLease{i: i}, 4).open(nc, g.loops[0])
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &before); err != nil {
		return err
	}
	if u.sock != nil || !u.brief || !g.pressed.Load() {
		return fmt.Errorf("a loop looks after %v", u)
	}
	if _, err := io.WriteString(u, "GET / HTTP/1.1\r\nHost: h\r\n\r\n"); err != nil {
		return err
	}
	if n, err := u.Read(make([]byte, 100)); err != nil || n == 0 {
		return fmt.Errorf("read %d bytes: %w", n, err)
	}
	g.connsOf(&testLease{i: i}, 4).put(u)
	if taken := g.connsOf(&testLease{i: i}, 4).take(g.loops[0], false); taken != nil {
		return fmt.Errorf("%v was kept", taken)
	}
	g.Start()
	if err := ask("http://" + g.Addr().String() + "/invoke/f"); err != nil {
		return err
	}
	fmt.Println("recovered")
	return nil
}

// A countingWriter counts log lines.
type countingWriter struct {
	mu    sync.Mutex
	lines int
}

func (w *countingWriter) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lines += strings.Count(string(b), "cannot accept")
	return len(b), nil
}

// outOfDescriptors opens connections until accept fails, and checks that the
// gateway says so without flooding its log and serves once there are some
// again.
func outOfDescriptors() error {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	go func() {
		_ = http.Serve(ln, http.HandlerFunc(echo))
	}()
	log := &countingWriter{}
	rev := &faas.Revision{Function: faas.Function{Ref: faas.NewRef("f"), Concurrency: 4}}
	g, err := New(Options{
		Catalog: testCatalog{"f": rev}, Pool: &testPool{instances: []*testInstance{newInstance(ln.Addr())}},
		Registerer: newRegistry(), Listen: "127.0.0.1:0", Logger: slog.New(slog.NewTextHandler(log, nil)),
	})
	if err != nil {
		return err
	}
	g.Start()
	url := "http://" + g.Addr().String() + "/invoke/f"
	if err := ask(url); err != nil {
		return fmt.Errorf("before: %w", err)
	}
	const descriptors = 64
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: descriptors, Max: descriptors}); err != nil {
		return err
	}
	// Both ends are in this process: the one that connects takes the last
	// descriptor, the gateway finds none.
	var held []net.Conn
	for {
		c, err := net.Dial("tcp", g.Addr().String())
		if err != nil {
			break
		}
		held = append(held, c)
	}
	start := time.Now()
	for log.count() == 0 {
		if time.Since(start) > patience {
			return fmt.Errorf("nothing was logged")
		}
		time.Sleep(10 * time.Millisecond)
	}
	time.Sleep(1500 * time.Millisecond) // long enough to flood a log
	if n, most := log.count(), int(time.Since(start)/time.Second)+2; n > most {
		return fmt.Errorf("%d lines were logged, want %d at most", n, most)
	}
	for _, c := range held {
		_ = c.Close()
	}
	for start := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		err := ask(url)
		if err == nil {
			fmt.Println("recovered")
			return nil
		}
		if time.Since(start) > patience {
			return fmt.Errorf("does not recover: %w", err)
		}
	}
}

func (w *countingWriter) count() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.lines
}

func ask(url string) error {
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 2 * time.Second}
	resp, err := client.Get(url)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != 200 {
		return fmt.Errorf("status %d, %q, %w", resp.StatusCode, b, err)
	}
	return nil
}
