package cgroup

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestParseMounts(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "cgroup.controllers"), []byte("cpu memory pids\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	text := `22 1 0:21 / /proc rw - proc proc rw
30 25 0:26 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid shared:9 - cgroup cgroup rw,cpu,cpuacct
31 25 0:27 / /sys/fs/cgroup/with\040space rw - cgroup cgroup rw,memory
32 25 0:28 / ` + dir + ` rw shared:4 - cgroup2 cgroup2 rw,nsdelegate
34 25 0:28 /part /a/container/sys/fs/cgroup rw - cgroup2 cgroup2 rw
35 25 0:27 / /a/container/memory rw - cgroup cgroup rw,memory
33 25 0:29 / /sys/fs/cgroup/devices rw - cgroup cgroup rw,devices
broken line
`
	got, err := parseMounts(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	want := Layout{
		V1: map[string]string{
			"cpu": "/sys/fs/cgroup/cpu,cpuacct", "cpuacct": "/sys/fs/cgroup/cpu,cpuacct",
			"memory": "/sys/fs/cgroup/with space",
		},
		V2: dir, V2Root: "/", V2Controllers: []string{"cpu", "memory", "pids"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("layout (-want +got):\n%s", diff)
	}
	if missing := got.Missing(); len(missing) > 0 {
		t.Errorf("Missing: got %v", missing)
	}
	if missing := (Layout{}).Missing(); len(missing) != 3 {
		t.Errorf("Missing of nothing: got %v", missing)
	}
}

func FuzzParseMounts(f *testing.F) {
	f.Add("30 25 0:26 / /c rw - cgroup cgroup rw,cpu\n")
	f.Add("- cgroup2\n")
	f.Fuzz(func(t *testing.T, text string) {
		// A cgroup2 line makes it read a file; keep it to paths that aren't.
		if strings.Contains(text, "cgroup2") {
			t.Skip()
		}
		layout, err := parseMounts(strings.NewReader(text))
		if err != nil {
			return
		}
		for c := range layout.V1 {
			if !slices.Contains(controllers, c) {
				t.Errorf("unknown controller %q", c)
			}
		}
	})
}

func TestParseHome(t *testing.T) {
	l := Layout{V1: map[string]string{"cpu": "/c", "cpuacct": "/c", "memory": "/m"}}
	got := l.parseHome("4:memory:/a:b\n2:cpu,cpuacct:/x\n0::/user\n1:name=systemd:/s\njunk")
	if diff := cmp.Diff(map[string]string{"/m": "/a:b", "/c": "/x"}, got); diff != "" {
		t.Errorf("home (-want +got):\n%s", diff)
	}
}

// FuzzParseHome: whatever it reads, nothing leads out of a hierarchy's folder.
func FuzzParseHome(f *testing.F) {
	f.Add("4:memory:/a:b\n2:cpu,cpuacct:/x\n0::/user\n1:name=systemd:/s\njunk")
	f.Add("4:memory:/../../outside\n")
	f.Add("4:memory:relative\n0::/../x\n0::\n")
	l := Layout{V1: map[string]string{"cpu": "/c", "cpuacct": "/c", "memory": "/m"}, V2: "/u", V2Root: "/"}
	f.Fuzz(func(t *testing.T, text string) {
		for dir, path := range l.parseHome(text) {
			if dir != "/c" && dir != "/m" {
				t.Errorf("unknown folder %q", dir)
			}
			if own := filepath.Join(dir, path); own != dir && !strings.HasPrefix(own, dir+"/") {
				t.Errorf("%q leads out of %q", path, dir)
			}
		}
	})
}

// FuzzOwnOf is the same for version 2, whose mount may show a part only.
func FuzzOwnOf(f *testing.F) {
	f.Add("4:memory:/a\n0::/user/x\n", "")
	f.Add("0::/user/x\n", "user")
	f.Add("0::/../x\n", "user")
	f.Add("0::relative", "../x")
	f.Fuzz(func(t *testing.T, text, root string) {
		own := Layout{V2: "/u", V2Root: root}.ownOf(text)
		if own != "" && own != "/u" && !strings.HasPrefix(own, "/u/") {
			t.Errorf("got %q", own)
		}
	})
}

func FuzzValueOf(f *testing.F) {
	f.Add("usage_usec 12\nuser_usec 7\n", "user_usec")
	f.Add("oom_kill -1\n", "oom_kill")
	f.Add("oom_kill 9223372036854775808", "oom_kill")
	f.Add("under_oom 0\noom_kill 3", "oom_kill")
	f.Fuzz(func(t *testing.T, text, key string) {
		n, err := valueOf(text, key)
		if n < 0 || err == nil && !strings.Contains(text, key+" ") {
			t.Errorf("got %d, %v", n, err)
		}
	})
}

// fakeV2 is a tree of files that looks like a version 2 hierarchy with one
// group, which is all that the file protocol is about.
func fakeV2(t *testing.T, files map[string]string) (Layout, string) {
	t.Helper()
	root := t.TempDir()
	dir := filepath.Join(root, "parent", "one")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, d := range []string{root, filepath.Join(root, "parent"), dir} {
		fill(t, d, map[string]string{"cgroup.subtree_control": "", "cgroup.procs": ""})
	}
	fill(t, dir, files)
	return Layout{V2: root, V2Controllers: []string{"cpu", "memory", "pids"}}, dir
}

func fill(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func wantFile(t *testing.T, path, want string) {
	t.Helper()
	got, err := os.ReadFile(path)
	if err != nil || string(got) != want {
		t.Errorf("%s: got %q, %v; want %q", filepath.Base(path), got, err, want)
	}
}

func TestLimitsVersion2(t *testing.T) {
	l, dir := fakeV2(t, map[string]string{
		"memory.max": "", "memory.swap.max": "", "memory.oom.group": "", "pids.max": "", "cpu.max": "",
	})
	g, err := l.Create("parent", "one", Limits{Memory: 1 << 27, Pids: 77})
	if err != nil {
		t.Fatal(err)
	}
	if err := g.LimitCPU(0.5); err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string]string{
		"memory.max": "134217728", "memory.swap.max": "0", "memory.oom.group": "1", "pids.max": "77", "cpu.max": "50000 100000",
	} {
		wantFile(t, filepath.Join(dir, file), want)
	}
	if err := g.makeParent(l.V2); err != nil {
		t.Fatal(err)
	}
	wantFile(t, filepath.Join(l.V2, "cgroup.subtree_control"), "+memory +cpu +pids")
	wantFile(t, filepath.Join(l.V2, "parent", "cgroup.subtree_control"), "+memory +cpu +pids")
}

func TestStatsVersion2(t *testing.T) {
	l, _ := fakeV2(t, map[string]string{
		"memory.current": "5000\n", "memory.stat": "anon 1\ninactive_file 1000\n", "pids.current": "9\n",
		"cpu.stat": "usage_usec 1500\nuser_usec 1\n", "memory.events": "low 0\noom 3\noom_kill 2\n",
	})
	got, err := l.At("parent", "one").Stats()
	want := Stats{Memory: 4000, CPU: 1500 * time.Microsecond, Pids: 9, OOMKills: 2}
	if err != nil || got != want {
		t.Errorf("Stats: got %+v, %v; want %+v", got, err, want)
	}
}

// realLayout returns the machine's layout, or skips the test where groups can't be
// made.
func realLayout(t *testing.T) Layout {
	t.Helper()
	l, err := Discover()
	if err != nil {
		t.Fatal(err)
	}
	g, err := l.Create(parentOf(t), "try", Limits{})
	if err != nil {
		t.Skipf("cgroups can't be made here (%v); run the tests as root", err)
	}
	if err := g.Remove(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.RemoveParent(parentOf(t)); err != nil {
			t.Error(err)
		}
		if names, err := l.Names(parentOf(t)); err != nil || len(names) > 0 {
			t.Errorf("left behind: %v, %v", names, err)
		}
	})
	return l
}

func parentOf(t *testing.T) string {
	return fmt.Sprintf("unifaas-test-%d-%s", os.Getpid(), t.Name())
}

func TestRealGroup(t *testing.T) {
	l := realLayout(t)
	g, err := l.Create(parentOf(t), "one", Limits{Memory: 64 << 20, Pids: 20})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { remove(t, g) })
	if err := g.LimitCPU(0.5); err != nil {
		t.Error(err)
	}
	cmd := exec.Command("/bin/sh", "-c", "sleep 1000 & sleep 1000 & wait")
	start(t, g, cmd)
	// Born inside: no wait is needed, not even for the shell's exec.
	pids, err := g.Processes()
	if err != nil || !slices.Contains(pids, cmd.Process.Pid) {
		t.Errorf("Processes: got %v, %v; want %d among them", pids, err, cmd.Process.Pid)
	}
	wantHome(t, cmd.Process.Pid, l, "/"+parentOf(t)+"/one")
	wantOutside(t)
	s, err := g.Stats()
	if err != nil || s.Pids < 1 || s.OOMKills != 0 {
		t.Errorf("Stats: got %+v, %v", s, err)
	}
	if names, err := l.Names(parentOf(t)); err != nil || !slices.Equal(names, []string{"one"}) {
		t.Errorf("Names: got %v, %v", names, err)
	}
	remove(t, g)
	if err := cmd.Wait(); err == nil || cmd.ProcessState.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		t.Errorf("the group's process ended with %v, want SIGKILL", err)
	}
	remove(t, g) // again: nothing to do
}

func remove(t *testing.T, g *Group) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := g.Remove(ctx); err != nil {
		t.Error(err)
	}
}

func start(t *testing.T, g *Group, cmd *exec.Cmd) {
	t.Helper()
	err := g.Start(func(attr *syscall.SysProcAttr) error {
		cmd.SysProcAttr = attr
		return cmd.Start()
	})
	if err != nil {
		t.Fatal(err)
	}
}

// wantHome checks in which group a process is, in each hierarchy we use.
func wantHome(t *testing.T, pid int, l Layout, path string) {
	t.Helper()
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cgroup")
	if err != nil {
		t.Fatal(err)
	}
	for dir, got := range l.parseHome(string(text)) {
		if got != path {
			t.Errorf("in %s the process is in %q, want %q", dir, got, path)
		}
	}
	if l.V2 != "" && !strings.Contains(string(text), "0::"+path+"\n") {
		t.Errorf("the process is not in %q of version 2:\n%s", path, text)
	}
}

// wantOutside checks that no thread of ours has stayed in a test's group.
func wantOutside(t *testing.T) {
	t.Helper()
	threads, err := filepath.Glob("/proc/self/task/*/cgroup")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range threads {
		text, err := os.ReadFile(file)
		if err == nil && strings.Contains(string(text), "unifaas-test-") {
			t.Errorf("%s: a thread of ours is in the group:\n%s", file, text)
		}
	}
}

func TestStartError(t *testing.T) {
	l := realLayout(t)
	g, err := l.Create(parentOf(t), "one", Limits{})
	if err != nil {
		t.Fatal(err)
	}
	defer remove(t, g)
	errFork := errors.New("no")
	if err := g.Start(func(*syscall.SysProcAttr) error { return errFork }); !errors.Is(err, errFork) {
		t.Errorf("Start: got %v", err)
	}
	wantOutside(t)
}

// TestManyAtOnce starts from many goroutines: groups don't mix.
func TestManyAtOnce(t *testing.T) {
	l := realLayout(t)
	errs := make(chan error)
	const n = 12
	for i := range n {
		go func() { errs <- startOne(l, parentOf(t), fmt.Sprint("g", i)) }()
	}
	for range n {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	wantOutside(t)
}

// sleeper is a process that does nothing.
func sleeper() *exec.Cmd { return exec.Command("/bin/sleep", "1000") }

func startOne(l Layout, parent, name string) error {
	g, err := l.Create(parent, name, Limits{Pids: 5})
	if err != nil {
		return err
	}
	cmd := sleeper()
	err = g.Start(func(attr *syscall.SysProcAttr) error {
		cmd.SysProcAttr = attr
		return cmd.Start()
	})
	if err != nil {
		return err
	}
	pids, err := g.Processes()
	if err == nil && !slices.Equal(pids, []int{cmd.Process.Pid}) {
		err = fmt.Errorf("group %s holds %v, want %d alone", name, pids, cmd.Process.Pid)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	err = errors.Join(err, g.Remove(ctx))
	_ = cmd.Wait() // it was killed
	return err
}

func TestRealPidsLimit(t *testing.T) {
	l := realLayout(t)
	if dir, _ := l.At("", "").dir("pids"); dir == "" {
		t.Skip("the machine has no pids controller")
	}
	g, err := l.Create(parentOf(t), "one", Limits{Pids: 3})
	if err != nil {
		t.Fatal(err)
	}
	defer remove(t, g)
	cmd := exec.Command("/bin/sh", "-c", "for i in 1 2 3 4 5 6; do sleep 1000 & done; wait")
	start(t, g, cmd)
	deadline := time.Now().Add(20 * time.Second)
	for {
		s, err := g.Stats()
		if err != nil {
			t.Fatal(err)
		}
		if s.Pids > 3 {
			t.Fatalf("%d processes, the limit is 3", s.Pids)
		}
		if s.Pids == 3 || time.Now().After(deadline) {
			break
		}
		time.Sleep(time.Millisecond)
	}
	remove(t, g)
	_ = cmd.Wait() // it was killed
}
