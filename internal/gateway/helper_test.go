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
	if os.Getenv(helperEnv) == "" {
		return false
	}
	if err := outOfDescriptors(); err != nil {
		fmt.Println("failed:", err)
		os.Exit(1)
	}
	return true
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
