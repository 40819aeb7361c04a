//go:build !race

// With the race detector a start of this program takes seconds, which is what
// would be measured.

package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/unifaas/unifaas/internal/config"
	"github.com/unifaas/unifaas/internal/control"
	"github.com/unifaas/unifaas/internal/faas"
	"github.com/unifaas/unifaas/internal/node"
	"github.com/unifaas/unifaas/internal/sandbox"
)

// What is known of the synthetic sandbox.
const (
	startTakes  = 50 * time.Millisecond
	startJitter = 2 * time.Millisecond // up to so much more or less, evenly
	failEvery   = 50                   // starts in which a request has an instance of its own: 2 %
	failFirst   = 20                   // the number of the first that fails
	holds       = 40 << 20             // bytes of memory of each instance
	burns       = 20                   // milliseconds of processor time a second of each instance
	workTakes   = 100 * time.Millisecond
	helloTakes  = 20 * time.Millisecond  // of an instance that is kept warm
	staticTakes = 500 * time.Millisecond // whatever its size
)

// Variables that make this test's program a platform.
const (
	platformEnv = "LAB_TEST_PLATFORM" // a folder for what the test wants to know
	holderEnv   = "LAB_TEST_HOLDER"   // the path of the holder
	failingEnv  = "LAB_TEST_FAILING"  // not empty: there are sandboxes that fail, too
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(platformEnv); dir != "" {
		if err := servePlatform(dir, os.Args[1:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// servePlatform is the command line of a platform with the synthetic sandbox, as
// far as the laboratory uses it.
func servePlatform(dir string, args []string) error {
	value := func(flag string) string { return args[slices.Index(args, flag)+1] }
	if slices.Contains(args, "doctor") {
		found := []control.Sandbox{{Name: "auto", Works: true, Detail: "scripted"}, {Name: "osv", Reason: "not in this build"}, {Name: "node", Kind: control.KindProgram, Works: true}}
		if os.Getenv(failingEnv) != "" {
			found[0].Variants = []sandbox.Variant{
				{Name: "auto"}, {Name: "failing", Keys: "env = { FAIL_AFTER = \"0\" }\n"}, {Name: "dying", Keys: "env = { FAIL_AFTER = \"1\" }\n"},
			}
		}
		return json.NewEncoder(os.Stdout).Encode(found)
	}
	n, err := node.New(node.Options{
		Config: config.Config{Functions: value("--functions"), Listen: value("--listen"), AdminListen: value("--admin-listen"), DrainTimeout: config.Duration(time.Second)},
		Dirs:   config.Dirs{StateDir: value("--state-dir"), RunDir: value("--run-dir")},
		Exe:    "/proc/self/exe", Version: "test", Logger: slog.New(slog.NewTextHandler(os.Stderr, nil)),
		Drivers: func(sandbox.Host) []sandbox.Driver { return []sandbox.Driver{&driver{dir: dir}} },
	})
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	return n.Run(ctx)
}

// A driver starts instances that are servers in this process, and processes
// that hold memory.
type driver struct {
	dir             string
	starts, singles atomic.Int64

	mu      sync.Mutex
	started map[string]int // by function
}

func (*driver) Name() string { return "synthetic" }

func (*driver) Probe(context.Context) sandbox.Capabilities {
	return sandbox.Capabilities{Works: true, MemoryEstimate: holds}
}

func (*driver) Prepare(context.Context, *faas.Revision) (sandbox.Artifact, error) { return nil, nil }

func (*driver) Recover(context.Context, sandbox.Record) (sandbox.Instance, error) {
	return nil, sandbox.ErrGone
}

func (d *driver) Start(ctx context.Context, _ sandbox.Artifact, spec sandbox.Spec) (sandbox.Instance, error) {
	n := d.starts.Add(1)
	// From one end of the range to the other and back, in steps of a tenth.
	takes := startTakes + startJitter*time.Duration(n%11-5)/5
	begin := time.Now()
	if d.fails(&spec.Revision.Function) {
		return nil, errors.New("scripted to fail always")
	}
	if strings.HasSuffix(spec.Revision.Function.Ref.Name, "-single") && d.singles.Add(1)%failEvery == failFirst {
		d.note("failures", spec.Revision.Function.Ref.Name)
		sleep(takes)
		return nil, errors.New("scripted to fail")
	}
	i := &instance{id: spec.ID, done: make(chan struct{}), warm: strings.HasSuffix(spec.Revision.Function.Ref.Name, "-warm")}
	if err := i.start(); err != nil {
		return nil, err
	}
	spec.Phase("half")
	sleep(takes - time.Since(begin))
	return i, nil
}

// fails reports whether a function's start is to fail: all do after the number
// of starts that its environment tells.
func (d *driver) fails(fn *faas.Function) bool {
	after, err := strconv.Atoi(fn.Env["FAIL_AFTER"])
	if err != nil {
		return false
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.started == nil {
		d.started = map[string]int{}
	}
	d.started[fn.Ref.Name]++
	return d.started[fn.Ref.Name] > after
}

// sleep takes its time exactly, where the timers of Go's runtime may be a
// millisecond late.
func sleep(d time.Duration) {
	for end := time.Now().Add(d); d > 0; d = time.Until(end) {
		pause := unix.NsecToTimespec(int64(d))
		_ = unix.Nanosleep(&pause, nil) // a signal may end it early
	}
}

// note appends a line to a file that the test reads.
func (d *driver) note(file, line string) {
	f, err := os.OpenFile(filepath.Join(d.dir, file), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err == nil {
		_, _ = fmt.Fprintln(f, line)
		_ = f.Close()
	}
}

type instance struct {
	id     string
	warm   bool // it takes its time for each request
	server http.Server
	addr   string
	holder *exec.Cmd
	done   chan struct{}
	stop   sync.Once
}

func (i *instance) start() error {
	i.holder = exec.Command(os.Getenv(holderEnv), strconv.Itoa(holds), strconv.Itoa(burns))
	i.holder.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := i.holder.Start(); err != nil {
		return err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	i.addr = l.Addr().String()
	i.server.Handler = http.HandlerFunc(i.answer)
	go func() { _ = i.server.Serve(l) }()
	return nil
}

func (i *instance) answer(w http.ResponseWriter, r *http.Request) {
	begin := time.Now()
	switch r.URL.Path {
	case "/hello":
		if i.warm {
			sleep(helloTakes)
		}
		_, _ = io.WriteString(w, "Hello from Go\n")
	case "/static":
		w.Header().Set("Content-Length", r.URL.Query().Get("size"))
		size, _ := strconv.Atoi(r.URL.Query().Get("size"))
		_, _ = w.Write(make([]byte, size-1))
		sleep(staticTakes - time.Since(begin))
		_, _ = w.Write(make([]byte, 1))
	default:
		sleep(workTakes)
		fmt.Fprintf(w, `{"seconds":%v}`, workTakes.Seconds())
	}
}

func (i *instance) ID() string { return i.id }

func (i *instance) Ready(context.Context) error { return nil }

func (i *instance) Dial(ctx context.Context) (net.Conn, error) {
	return (&net.Dialer{}).DialContext(ctx, "tcp", i.addr)
}

func (i *instance) Done() <-chan struct{} { return i.done }

func (i *instance) Wait() sandbox.Exit { <-i.done; return sandbox.Exit{At: time.Now()} }

func (i *instance) Stop(context.Context) error {
	i.stop.Do(func() {
		_ = i.server.Close()
		_ = i.holder.Process.Kill()
		_ = i.holder.Wait() // it was killed
		close(i.done)
	})
	return nil
}
