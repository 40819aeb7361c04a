package cgroup

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

func TestParentKeepsOnlySuccess(t *testing.T) {
	l := realLayout(t)
	p := NewParent(parentOf(t))
	broken := errors.New("no proc")
	calls := 0
	p.discover = func() (Layout, error) {
		if calls++; calls < 3 {
			return Layout{}, broken
		}
		return l, nil
	}
	for range 2 {
		if err := p.Usable(); !errors.Is(err, broken) {
			t.Errorf("Usable: got %v", err)
		}
	}
	for range 2 {
		if limited, err := p.Use(); !limited || err != nil {
			t.Errorf("Use: got %v, %v", limited, err)
		}
	}
	if calls != 3 {
		t.Errorf("the hierarchies were read %d times, want 3", calls)
	}
	if names, err := l.Names(p.name); err != nil || len(names) > 0 {
		t.Errorf("after the trial: got %v, %v", names, err)
	}
}

// TestSweep leaves what is known, and no parent without groups.
func TestSweep(t *testing.T) {
	l := realLayout(t)
	p := NewParent(parentOf(t))
	t.Cleanup(func() { _ = p.Sweep(context.Background(), nil) }) // realLayout's looks at what is left
	for _, name := range []string{"known", "lost"} {
		if _, err := p.Create(name, Limits{Memory: 1 << 20, Pids: 2}); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.Sweep(t.Context(), map[string]bool{"known": true}); err != nil {
		t.Fatal(err)
	}
	if names, err := l.Names(p.name); err != nil || !slices.Equal(names, []string{"known"}) {
		t.Errorf("left are %q, %v", names, err)
	}
	if err := p.Sweep(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	// As one that was killed leaves it: made, and nothing in it yet.
	for _, dir := range l.folders() {
		if err := os.Mkdir(filepath.Join(dir, p.name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.Sweep(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	for _, dir := range l.folders() {
		if _, err := os.Stat(filepath.Join(dir, p.name)); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the parent in %q is left: %v", dir, err)
		}
	}
}

// TestSweepReadOnly has nothing to sweep, as in a container that may see its
// hierarchies alone.
func TestSweepReadOnly(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", unix.MS_RDONLY, ""); err != nil {
		t.Skipf("nothing can be mounted here (%v); run the tests as root", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	p := NewParent(parentOf(t))
	p.discover = func() (Layout, error) { return Layout{V2: dir}, nil }
	if err := p.Sweep(t.Context(), nil); err != nil {
		t.Error(err)
	}
}

// TestParentsOfOneName make and remove groups at once, so that each removes
// the parent under the other's feet.
func TestParentsOfOneName(t *testing.T) {
	realLayout(t)
	var wg sync.WaitGroup
	for i := range 4 {
		p := NewParent(parentOf(t))
		wg.Go(func() {
			for j := range 30 {
				g, err := p.Create(fmt.Sprintf("g%d-%d", i, j), Limits{Memory: 1 << 20, Pids: 2})
				if err != nil {
					t.Error(err)
					return
				}
				if err := p.Remove(t.Context(), g); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}

func TestUse(t *testing.T) {
	all := []string{"cpu", "memory", "pids"}
	readOnly := &os.PathError{Op: "mkdir", Err: syscall.EROFS}
	for _, c := range []struct {
		name    string
		uid     int
		layout  func(t *testing.T) (Layout, error)
		refused bool // instances must not start
		remedy  string
	}{
		{"root without controllers", 0, func(*testing.T) (Layout, error) {
			return Layout{V2: "/nowhere", V2Controllers: []string{"cpu", "pids"}}, nil
		}, true, "cgroup_enable=memory"},
		{"a user without controllers", 1000, func(*testing.T) (Layout, error) { return Layout{}, nil }, false, "Delegate="},
		{"a user whose session lacks one", 1000, func(*testing.T) (Layout, error) {
			return Layout{V2: "/nowhere", V2Controllers: []string{"memory", "pids"}}, nil
		}, false, "Delegate=cpu memory pids"},
		{"root and a read-only mount", 0, func(*testing.T) (Layout, error) { return Layout{}, readOnly }, true, "writable"},
		{"root and no such place", 0, func(t *testing.T) (Layout, error) {
			return Layout{V2: filepath.Join(t.TempDir(), "gone"), V2Controllers: all}, nil
		}, true, "/proc/self/mountinfo"},
		{"a user and no such place", 1000, func(t *testing.T) (Layout, error) {
			return Layout{V2: filepath.Join(t.TempDir(), "gone"), V2Controllers: all}, nil
		}, false, "Delegate="},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := NewParent("unifaas-test")
			p.uid, p.discover = c.uid, func() (Layout, error) { return c.layout(t) }
			limited, err := p.Use()
			if limited || (err != nil) != c.refused {
				t.Errorf("Use: got %v, %v; want it refused: %v", limited, err, c.refused)
			}
			if remedy := Remedy(p.Usable()); !strings.Contains(remedy, c.remedy) {
				t.Errorf("Remedy: got %q, want %q", remedy, c.remedy)
			}
		})
	}
}

// TestUserWithoutEveryController owns a group that lacks one, as in many a
// session.
func TestUserWithoutEveryController(t *testing.T) {
	p := NewParent("unifaas-test")
	p.uid = 1000
	p.found = &found{layout: Layout{V2: "/nowhere", V2Controllers: []string{"memory", "pids"}}, delegated: true}
	err := p.Usable()
	if !errors.Is(err, ErrNotDelegated) || !strings.Contains(err.Error(), "cpu") {
		t.Errorf("Usable: got %v", err)
	}
	if remedy := Remedy(err); !strings.Contains(remedy, "Delegate=cpu memory pids") {
		t.Errorf("Remedy: got %q", remedy)
	}
}

// TestFailureIsLookedAtAnew: what was found before a trial failed may not be
// there any more.
func TestFailureIsLookedAtAnew(t *testing.T) {
	l := realLayout(t)
	p := NewParent(parentOf(t))
	p.discover = func() (Layout, error) { return l, nil }
	p.found = &found{layout: Layout{V2: filepath.Join(t.TempDir(), "gone"), V2Controllers: []string{"cpu", "memory", "pids"}}}
	if err := p.Usable(); err == nil {
		t.Fatal("Usable: got nil where nothing can be made")
	}
	if err := p.Usable(); err != nil {
		t.Errorf("Usable, once it can be: got %v", err)
	}
}

func TestOwnOf(t *testing.T) {
	const text = "4:memory:/a\n0::/user.slice/unit.scope\n"
	for root, want := range map[string]string{
		"/": "/c/user.slice/unit.scope", "/user.slice": "/c/unit.scope", "/user.slice/unit.scope": "/c", "/docker/x": "",
	} {
		if got := (Layout{V2: "/c", V2Root: root}).ownOf(text); got != want {
			t.Errorf("with %s mounted: got %q, want %q", root, got, want)
		}
	}
	if got := (Layout{V2: "/c", V2Root: "/"}).ownOf("4:memory:/a\n"); got != "" {
		t.Errorf("without version 2: got %q", got)
	}
}

// TestBelow gives a user a group of a version 2 tree made of files; a machine
// whose controllers are version 1's can't do it for real.
func TestBelow(t *testing.T) {
	unit := map[string]string{"cgroup.subtree_control": "", "cgroup.controllers": "cpu memory pids\n"}
	root := tree(t, map[string]map[string]string{"": {}, "user/unit": unit})
	l := Layout{V2: root, V2Root: "/", V2Controllers: []string{"memory"}}
	me := os.Getuid()
	own := filepath.Join(root, "user/unit")
	got, delegated := l.below(own, me)
	if !delegated || got.V2 != own || !slices.Equal(got.V2Controllers, []string{"cpu", "memory", "pids"}) {
		t.Errorf("below: got %+v, %v", got, delegated)
	}
	if at := got.ownOf("0::/user/unit\n"); at != own {
		t.Errorf("below: the process that is in %q is looked for in %q", own, at)
	}
	if got, delegated := l.below(own, me+1); delegated || got.V2 != root {
		t.Errorf("below, of another user: got %+v, %v", got, delegated)
	}
	if got, delegated := l.below(filepath.Join(root, "user"), me); delegated || got.V2 != root {
		t.Errorf("below, without its files: got %+v, %v", got, delegated)
	}
	l.V1 = map[string]string{"memory": root}
	if _, delegated := l.delegated("leaf", me); delegated {
		t.Error("version 1 can't be delegated")
	}
}

func TestMoveTo(t *testing.T) {
	root := tree(t, map[string]map[string]string{"unit": {"cgroup.procs": "7\n9\n"}})
	dir := filepath.Join(root, "unit")
	if err := moveTo(dir, "leaf", 7); !isBusy(err) || !strings.Contains(err.Error(), "process 9") {
		t.Errorf("beside another process: got %v", err)
	}
	fill(t, dir, map[string]string{"cgroup.procs": "7\n"})
	// In a real hierarchy the kernel makes the new group's files.
	if err := os.Mkdir(filepath.Join(dir, "leaf"), 0o755); err != nil {
		t.Fatal(err)
	}
	fill(t, filepath.Join(dir, "leaf"), map[string]string{"cgroup.procs": ""})
	if err := moveTo(dir, "leaf", 7); err != nil {
		t.Fatal(err)
	}
	wantFile(t, filepath.Join(dir, "leaf", "cgroup.procs"), "7")
}

func TestLeave(t *testing.T) {
	for _, c := range []struct {
		name, own, beside string
		control           string // what remains handed down
		procs             string
	}{
		{"alone", "unit/leaf", "", "-memory -pids", strconv.Itoa(os.Getpid())},
		{"beside an instance's", "unit/leaf", "unit/unifaas-n/one", "memory pids", ""},
		{"never moved", "unit", "", "memory pids", ""},
		{"of another", "unit/other", "", "memory pids", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			groups := map[string]map[string]string{"unit": {"cgroup.subtree_control": "memory pids"}}
			if c.beside != "" {
				groups[c.beside] = nil
			}
			dir := filepath.Join(tree(t, groups), "unit")
			leaf := filepath.Join(dir, "leaf") // of a real one the kernel's files don't count
			if err := os.Mkdir(leaf, 0o755); err != nil {
				t.Fatal(err)
			}
			l := Layout{V2: dir, V2Controllers: []string{"memory", "pids"}}
			if err := l.leave(filepath.Join(filepath.Dir(dir), c.own), "leaf"); err != nil {
				t.Fatal(err)
			}
			wantFile(t, filepath.Join(dir, "cgroup.subtree_control"), c.control)
			wantFile(t, filepath.Join(dir, "cgroup.procs"), c.procs)
			if _, err := os.Stat(leaf); os.IsNotExist(err) != (c.procs != "") {
				t.Errorf("the leaf: %v", err)
			}
		})
	}
}

// claimant is the environment variable that makes the test's program claim
// and leave the group that it names.
const claimant = "UNIFAAS_TEST_CLAIM"

// TestRealLeave claims and leaves a group for real, in whichever version 2
// there is: with controllers where they are version 2's.
func TestRealLeave(t *testing.T) {
	if dir := os.Getenv(claimant); dir != "" {
		claimAndLeave(t, dir)
		return
	}
	l := realLayout(t)
	if l.V2 == "" {
		t.Skip("the machine has no version 2 hierarchy")
	}
	g, err := l.Create(parentOf(t), "one", Limits{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { remove(t, g) })
	cmd := exec.Command(os.Args[0], "-test.run=^TestRealLeave$")
	cmd.Env = append(os.Environ(), claimant+"="+g.unified())
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	start(t, g, cmd)
	if err := cmd.Wait(); err != nil {
		t.Errorf("%v:\n%s", err, output.Bytes())
	}
}

func claimAndLeave(t *testing.T, dir string) {
	whole, err := Discover()
	if err != nil {
		t.Fatal(err)
	}
	l, ok := whole.below(dir, os.Geteuid())
	if !ok || l.own() != dir {
		t.Fatalf("the process is in %q, want %q", l.own(), dir)
	}
	leaf := filepath.Join(dir, "leaf")
	if err := errors.Join(moveTo(dir, "leaf", os.Getpid()), l.enable(dir)); err != nil || l.own() != leaf {
		t.Fatalf("claimed, the process is in %q: %v", l.own(), err)
	}
	if err := l.leave(l.own(), "leaf"); err != nil || l.own() != dir {
		t.Errorf("afterwards the process is in %q: %v", l.own(), err)
	}
	if handed, err := readWords(filepath.Join(dir, "cgroup.subtree_control")); err != nil || len(handed) > 0 {
		t.Errorf("still handed down: %v, %v", handed, err)
	}
	if _, err := os.Stat(leaf); !os.IsNotExist(err) {
		t.Errorf("the leaf is still there: %v", err)
	}
}

// TestRealMoveTo moves a process for real, in whichever version 2 there is.
func TestRealMoveTo(t *testing.T) {
	l := realLayout(t)
	if l.V2 == "" {
		t.Skip("the machine has no version 2 hierarchy")
	}
	g, err := l.Create(parentOf(t), "one", Limits{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { remove(t, g) })
	cmd := sleeper()
	start(t, g, cmd)
	leaf := l.At(filepath.Join(parentOf(t), "one"), "leaf")
	t.Cleanup(func() { remove(t, leaf); _ = cmd.Wait() })
	if err := moveTo(g.unified(), "leaf", cmd.Process.Pid); err != nil {
		t.Fatal(err)
	}
	procs, err := readWords(filepath.Join(leaf.unified(), "cgroup.procs"))
	if err != nil || !slices.Equal(procs, []string{strconv.Itoa(cmd.Process.Pid)}) {
		t.Errorf("the leaf holds %v, %v", procs, err)
	}
	if isRoot(g.unified()) || !isRoot(l.V2) && l.V2Root == "/" && l.own() == l.V2 {
		t.Errorf("isRoot: %v of a group", isRoot(g.unified()))
	}
}

func TestRecordAndOpen(t *testing.T) {
	p := NewParent("unifaas-n")
	p.discover = func() (Layout, error) { return Layout{V2: "/c/mine"}, nil }
	if got := p.Record("one"); got != "one" {
		t.Errorf("Record: got %q", got)
	}
	p.found.delegated = true
	recorded := p.Record("one")
	if recorded != "/c/mine/unifaas-n/one" {
		t.Errorf("Record in a delegated group: got %q", recorded)
	}
	next := NewParent("unifaas-n")
	next.discover = func() (Layout, error) { return Layout{V2: "/c/other"}, nil }
	for _, c := range []struct{ recorded, dir string }{
		{recorded, "/c/mine/unifaas-n/one"}, {"one", "/c/other/unifaas-n/one"},
	} {
		if g, err := next.Open(c.recorded); err != nil || g.unified() != c.dir {
			t.Errorf("Open(%q): got %+v, %v", c.recorded, g, err)
		}
	}
	if _, err := next.Open("/c/mine/somebody/one"); err == nil {
		t.Error("Open takes a group of another parent")
	}
}
