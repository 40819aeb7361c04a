package e2e

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/unifaas/unifaas/internal/sandbox/sandboxtest/guest"
)

// TestLimits pushes against each limit in every sandbox, through the gateway,
// beside a function that must not notice.
func TestLimits(t *testing.T) {
	needsRoot(t, "limit functions")
	inSandboxes(t, func(t *testing.T, p *platform, v variant) {
		neighbour := p.deploy(t, "neighbour", v.lines+"concurrency = 4\nmax-instances = 1\nkeepalive = \"10m\"")
		p.start(t)
		p.want(t, neighbour, "/hello")
		t.Run("cpu", func(t *testing.T) { overItsProcessor(t, p, v) })
		beside := startLoad(p.at(neighbour, "/hello"), 1, 10*time.Millisecond, nil)
		defer beside.stop()
		for _, limit := range []struct {
			name string
			push func(*testing.T, *platform, variant)
		}{{"memory", overItsMemory}, {"pids", overItsProcesses}, {"disk", overItsDisk}} {
			t.Run(limit.name, func(t *testing.T) {
				limit.push(t, p, v)
				beside.more(t, 3)
			})
		}
		beside.wantNoFailure(t, "the neighbour")
		p.stop(t)
	}, everySandbox()...)
}

func overItsMemory(t *testing.T, p *platform, v variant) {
	name := p.deploy(t, "eats", v.lines+"memory = 64\nmax-instances = 1")
	first := wantJSON[told](t, p, name, "/token")
	id := p.instances(t, name)[0].ID
	wantProblem(t, p.get(t, name, "/alloc?mib=400"), 502, name)
	if again := wantJSON[told](t, p, name, "/token"); again.Token == first.Token || again.Served != 1 {
		t.Errorf("after it was killed, process %+v answers; before, %+v", again, first)
	}
	eventually(t, "describe to tell that "+id+" was out of memory", func() bool {
		for _, x := range p.describe(t, name).Exits {
			if x.Instance == id {
				if !strings.Contains(x.Reason, "out of memory") {
					t.Fatalf("describe says %q", x.Reason)
				}
				return true
			}
		}
		return false
	})
	// For people, too.
	if out, _, code := p.cli(t, "describe", name); code != 0 || !strings.Contains(out, "out of memory") {
		t.Errorf("describe ended with %d and prints\n%s", code, out)
	}
}

func overItsProcesses(t *testing.T, p *platform, v variant) {
	name := p.deploy(t, "forks", v.lines+"pids = 32\nmemory = 256\nmax-instances = 1")
	got := wantJSON[guest.Forked](t, p, name, "/fork?n=100000")
	if got.Error == "" || got.Started > 32 || got.Started == 0 {
		t.Errorf("forked %+v, want an error before 32", got)
	}
	// It still holds them all, and serves.
	p.want(t, name, "/hello")
}

func overItsDisk(t *testing.T, p *platform, v variant) {
	const limit = 8 << 20
	name := p.deploy(t, "fills", v.lines+"disk = 8\nmemory = 128\nmax-instances = 1")
	before := freeSpace(t, p.base)
	for _, path := range []string{"/tmp/big", "/tmp/another"} {
		got := wantJSON[guest.Result](t, p, name, "/write?path="+path+"&bytes=100000000")
		if !strings.Contains(got.Error, syscall.ENOSPC.Error()) || got.Bytes > limit {
			t.Errorf("wrote %+v to %s, want %v within %d bytes", got, path, syscall.ENOSPC, limit)
		}
	}
	for _, path := range []string{"/big", "/etc/passwd", "/dev/shm/big"} {
		got := wantJSON[guest.Result](t, p, name, "/write?path="+path+"&bytes=100000000")
		if got.Error == "" {
			t.Errorf("wrote %d bytes to %s", got.Bytes, path)
		}
	}
	// The disk is shared with others: what they write meanwhile is little.
	if lost := before - freeSpace(t, p.base); lost > 64<<20 {
		t.Errorf("the host's disk lost %d bytes", lost)
	}
	// With a full disk it serves, and so does a function that comes after it.
	p.want(t, name, "/hello")
	after := p.deploy(t, "after-full", v.lines)
	if got := wantJSON[guest.Result](t, p, after, "/write?path=/tmp/file&bytes=1000000"); got.Error != "" {
		t.Errorf("another function wrote %+v", got)
	}
}

func freeSpace(t *testing.T, path string) int64 {
	t.Helper()
	var fs unix.Statfs_t
	if err := unix.Statfs(path, &fs); err != nil {
		t.Fatal(err)
	}
	return int64(fs.Bfree) * fs.Bsize
}

// overItsProcessor burns with two threads for a good second. A machine with
// other work gives less than the limit, never more.
func overItsProcessor(t *testing.T, p *platform, v variant) {
	const share = 0.5
	name := p.deploy(t, "burns", v.lines+fmt.Sprintf("cpus = %v\nmax-instances = 1", share))
	p.want(t, name, "/hello")
	mark := p.instances(t, name)[0].ID
	if v.daemon != nil {
		id, err := v.daemon.Docker(t.Context(), "inspect", "--format", "{{.Id}}", mark)
		if err != nil {
			t.Fatal(err)
		}
		mark = strings.TrimSpace(id)
	}
	before, begin := processorTime(t, mark), time.Now()
	p.want(t, name, "/burn?ms=1500&procs=2")
	used, took := processorTime(t, mark)-before, time.Since(begin)
	got := used.Seconds() / took.Seconds()
	t.Logf("%v of processor time in %v: %.2f processors", used, took, got)
	if got > share*1.3 || got < share/5 {
		t.Errorf("it had %.2f processors (%v in %v), want %v", got, used, took, share)
	}
}

// processorTime is what the processes in control groups whose path holds mark
// have used, as the host counts it: fields 14 and 15 of /proc/PID/stat
// (proc(5)), in hundredths of a second on every machine that Go knows.
func processorTime(t *testing.T, mark string) time.Duration {
	t.Helper()
	var ticks int64
	found := processesThat(func(pid int) bool {
		groups, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
		return strings.Contains(string(groups), mark)
	})
	for _, pid := range found {
		b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		text := string(b)
		fields := strings.Fields(text[strings.LastIndexByte(text, ')')+1:])
		if len(fields) < 13 {
			continue
		}
		for _, f := range fields[11:13] {
			n, err := strconv.ParseInt(f, 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			ticks += n
		}
	}
	if len(found) == 0 {
		t.Fatalf("no process is in a control group %q", mark)
	}
	return time.Duration(ticks) * (time.Second / 100)
}
