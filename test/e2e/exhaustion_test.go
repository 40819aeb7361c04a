package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/unifaas/unifaas/internal/sandbox/sandboxtest"
)

// A shortage takes something away from a platform that runs, and gives it
// back.
type shortage struct {
	platform *platform
	begin    func()
	end      func()
	says     []string // one of them must be in the platform's log
}

// suffer puts a platform under load, through a shortage, and wants it to say
// so and to be well afterwards, by itself.
func (s shortage) suffer(t *testing.T) {
	p := s.platform
	warm := p.deploy(t, "warm", "concurrency = 2\nkeepalive = \"10m\"")
	cold := p.deploy(t, "cold", "single-use = true")
	p.want(t, warm, "/hello")
	p.want(t, cold, "/hello")
	pid, before := p.status.PID, p.journal.length()

	s.begin()
	ending := sync.OnceFunc(s.end)
	defer ending()
	var got refusals
	loads := []*load{
		startLoad(p.at(warm, "/hello"), 4, 10*time.Millisecond, func(a answer) error {
			httpClient.CloseIdleConnections() // a connection for each request
			return got.check(a)
		}),
		startLoad(p.at(cold, "/hello"), 2, 20*time.Millisecond, got.check),
	}
	time.Sleep(time.Duration(setting(t, "UNIFAAS_E2E_SECONDS", 10)) * time.Second) // the shortage
	for _, l := range loads {
		l.cancel()
	}
	ending()
	for i, l := range loads {
		l.stop()
		answered, failed := l.count()
		t.Logf("load %d during the shortage: %d answered, %d failed %q", i, answered, failed, l.failures[:min(2, failed)])
	}
	got.wantPolite(t)
	if !p.running() || p.cmd.Process.Pid != pid {
		t.Fatalf("the platform ended: %v", p.cmd.ProcessState)
	}
	if log := p.journal.since(before); !containsAny(log, s.says) {
		t.Errorf("the platform's log has none of %q:\n%s", s.says, log)
	}
	// It may be holding back for a moment; then all must be as before.
	for _, name := range []string{warm, cold} {
		eventually(t, name+" to answer", func() bool { return p.get(t, name, "/hello").status == 200 })
	}
	for _, name := range []string{warm, cold} {
		l := startLoad(p.at(name, "/hello"), 2, time.Millisecond, nil)
		l.more(t, 10)
		l.wantNoFailure(t, name+" after the shortage")
	}
	p.stop(t)
}

// refusals are the answers with which clients were turned away.
type refusals struct {
	mu   sync.Mutex
	list []answer
}

func (r *refusals) check(a answer) error {
	if a.status == http.StatusOK {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.list = append(r.list, a)
	return fmt.Errorf("status %d: %s", a.status, a.body)
}

// wantPolite wants each refusal to say that the machine is to blame and that
// another try makes sense: nobody's request and no function was at fault.
func (r *refusals) wantPolite(t *testing.T) {
	t.Helper()
	for _, a := range r.list {
		status := http.StatusServiceUnavailable
		if a.status == http.StatusTooManyRequests {
			status = a.status
		}
		wantProblem(t, a, status)
		if t.Failed() {
			return // the others are likely the same
		}
	}
}

func containsAny(text string, words []string) bool {
	for _, w := range words {
		if strings.Contains(text, w) {
			return true
		}
	}
	return false
}

func TestNoMoreFiles(t *testing.T) {
	t.Parallel()
	p := newPlatform(t).start(t)
	var had unix.Rlimit
	shortage{
		platform: p, says: []string{"too many open files"},
		begin: func() {
			if err := unix.Prlimit(p.status.PID, unix.RLIMIT_NOFILE, nil, &had); err != nil {
				t.Fatal(err)
			}
			fds, err := os.ReadDir(filepath.Join("/proc", strconv.Itoa(p.status.PID), "fd"))
			if err != nil {
				t.Fatal(err)
			}
			// Three more than it holds: enough to accept, not to serve.
			scarce := unix.Rlimit{Cur: uint64(len(fds) + 3), Max: had.Max}
			if err := unix.Prlimit(p.status.PID, unix.RLIMIT_NOFILE, &scarce, nil); err != nil {
				t.Fatal(err)
			}
		},
		end: func() {
			if err := unix.Prlimit(p.status.PID, unix.RLIMIT_NOFILE, &had, nil); err != nil {
				t.Error(err)
			}
		},
	}.suffer(t)
}

func TestNoMoreSpace(t *testing.T) {
	t.Parallel()
	needsRoot(t, "mount a small file system")
	p := newPlatform(t)
	disk := filepath.Join(p.base, "disk")
	if err := os.Mkdir(disk, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("e2e", disk, "tmpfs", 0, "size=128m,mode=755"); err != nil {
		sandboxtest.Skip(t, "gvisor", sandboxtest.NotWorking{Why: "can't mount: " + err.Error(), Remedy: "give the tests CAP_SYS_ADMIN"})
	}
	t.Cleanup(func() {
		if err := unix.Unmount(disk, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	p.state, p.run = filepath.Join(disk, "state"), filepath.Join(disk, "run")
	p = p.relocated()
	t.Cleanup(func() { // before the unmount above
		if p.running() {
			if err := p.shutdown(); err != nil {
				t.Error(err)
			}
		}
	})
	p.start(t)
	filler := filepath.Join(disk, "filler")
	shortage{
		platform: p, says: []string{"no space left on device"},
		begin: func() {
			f, err := os.Create(filler)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			block := bytes.Repeat([]byte{1}, 64<<10)
			for err == nil {
				_, err = f.Write(block)
			}
			if !errors.Is(err, unix.ENOSPC) {
				t.Fatal(err)
			}
		},
		end: func() {
			if err := os.Remove(filler); err != nil {
				t.Error(err)
			}
		},
	}.suffer(t)
}

// TestNoMoreProcesses freezes the number of processes and threads at what it
// is, for the platform itself and for all of its instances together.
func TestNoMoreProcesses(t *testing.T) {
	t.Parallel()
	needsRoot(t, "make a cgroup")
	own := pidsGroup(t)
	p := newPlatform(t)
	// The shell moves itself before it becomes the platform.
	p.wrapper = []string{"sh", "-c", `echo $$ > "$0"/cgroup.procs && exec "$@"`, own}
	p.start(t)
	groups := []string{own, filepath.Join(filepath.Dir(own), "unifaas-"+p.status.Node)}
	shortage{
		platform: p, says: []string{"resource temporarily unavailable"},
		begin: func() {
			for _, g := range groups {
				now, err := os.ReadFile(filepath.Join(g, "pids.current"))
				if err != nil {
					t.Fatal(err)
				}
				writeFile(t, filepath.Join(g, "pids.max"), string(now))
			}
		},
		end: func() {
			for _, g := range groups {
				writeFile(t, filepath.Join(g, "pids.max"), "max")
			}
		},
	}.suffer(t)
}

// pidsGroup makes a cgroup that counts processes, whichever version there is.
func pidsGroup(t *testing.T) string {
	t.Helper()
	name := fmt.Sprintf("unifaas-e2e-%d", os.Getpid())
	for _, root := range []string{"/sys/fs/cgroup/pids", "/sys/fs/cgroup"} {
		dir := filepath.Join(root, name)
		if err := os.Mkdir(dir, 0o755); err != nil {
			continue
		}
		if _, err := os.Stat(filepath.Join(dir, "pids.max")); err != nil {
			_ = os.Remove(dir)
			continue
		}
		t.Cleanup(func() {
			eventually(t, "the cgroup to be empty", func() bool { return os.Remove(dir) == nil })
		})
		return dir
	}
	sandboxtest.Skip(t, "gvisor", sandboxtest.NotWorking{Why: "no cgroup with the pids controller can be made", Remedy: "mount cgroups writable"})
	return ""
}
