package leak_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"

	"github.com/unifaas/unifaas/internal/host/leak"
)

func snapshot(t *testing.T, options ...leak.Option) leak.State {
	t.Helper()
	s, err := leak.Snapshot(options...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// expect makes something, wants it reported, undoes it and wants silence.
func expect(t *testing.T, want string, acquire func() (undo func()), options ...leak.Option) {
	t.Helper()
	before := snapshot(t, options...)
	undo := acquire()
	left := leak.Diff(before, snapshot(t, options...))
	if !strings.Contains(strings.Join(left, "\n"), want) {
		t.Errorf("want something about %q, got %q", want, left)
	}
	undo()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	left, err := leak.Settle(ctx, before, options...)
	if err != nil || len(left) != 0 {
		t.Errorf("after the undo: %q, %v", left, err)
	}
}

func TestDescendant(t *testing.T) {
	expect(t, "sleep 100", func() func() {
		child := exec.Command("sleep", "100")
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		return func() { _ = child.Process.Kill(); _ = child.Wait() }
	}, leak.Descendants(os.Getpid()))
}

func TestGrandchildAndZombie(t *testing.T) {
	expect(t, "zombie", func() func() {
		// The shell's child ends and nobody waits for it; then the shell
		// becomes a sleep, which never waits either.
		child := exec.Command("sh", "-c", "sh -c 'exit 0' & exec sleep 100")
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		waitFor(t, func() bool {
			for thing := range snapshot(t, leak.Descendants(os.Getpid())) {
				if strings.Contains(thing, "zombie") {
					return true
				}
			}
			return false
		})
		return func() { _ = child.Process.Kill(); _ = child.Wait() }
	}, leak.Descendants(os.Getpid()))
}

func waitFor(t *testing.T, done func() bool) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for !done() {
		if time.Now().After(deadline) {
			t.Fatal("waited for ten seconds in vain")
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func TestNamedProcessNeedNotDescend(t *testing.T) {
	name := uniqueName()
	expect(t, name, func() func() {
		child := exec.Command("sleep", "100")
		child.Args[0] = name
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		waitFor(t, func() bool { return len(snapshot(t, leak.Named(name))) > 0 })
		return func() { _ = child.Process.Kill(); _ = child.Wait() }
	}, leak.Named(name))
}

func uniqueName() string { return fmt.Sprintf("leaktest-%d", os.Getpid()) }

func TestFileAndSocket(t *testing.T) {
	dir := t.TempDir()
	expect(t, "file "+filepath.Join(dir, "left"), func() func() {
		path := filepath.Join(dir, "left")
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		return func() { _ = os.Remove(path) }
	}, leak.Under(dir))
	name := uniqueName()
	expect(t, "file "+filepath.Join(dir, name), func() func() {
		for _, path := range []string{"unrelated", name} {
			if err := os.WriteFile(filepath.Join(dir, path), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		return func() { _ = os.Remove(filepath.Join(dir, name)) }
	}, leak.Named(name), leak.NamedUnder(dir))
	expect(t, "unix socket @"+name, func() func() {
		l, err := net.Listen("unix", "@"+name)
		if err != nil {
			t.Fatal(err)
		}
		return func() { _ = l.Close() }
	}, leak.Named(name))
}

func TestDescriptor(t *testing.T) {
	expect(t, "descriptor to /etc/hostname", func() func() {
		f, err := os.Open("/etc/hostname")
		if err != nil {
			t.Fatal(err)
		}
		return func() { _ = f.Close() }
	}, leak.Self())
}

func TestMount(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("mounting needs root")
	}
	dir := t.TempDir()
	expect(t, "mount "+dir, func() func() {
		if err := unix.Mount("none", dir, "tmpfs", 0, "size=4k"); err != nil {
			t.Skipf("can't mount here: %v", err)
		}
		return func() {
			if err := unix.Unmount(dir, 0); err != nil {
				t.Error(err)
			}
		}
	}, leak.NamedUnder(dir))
}

func TestCgroup(t *testing.T) {
	root := "/sys/fs/cgroup"
	if _, err := os.Stat(root + "/cgroup.procs"); err != nil {
		root += "/unified"
	}
	name := uniqueName()
	if err := os.Mkdir(filepath.Join(root, name), 0o755); err != nil {
		t.Skipf("can't make a cgroup here: %v", err)
	}
	if err := os.Remove(filepath.Join(root, name)); err != nil {
		t.Fatal(err)
	}
	expect(t, "cgroup "+filepath.Join(root, name), func() func() {
		if err := os.Mkdir(filepath.Join(root, name), 0o755); err != nil {
			t.Fatal(err)
		}
		return func() { _ = os.Remove(filepath.Join(root, name)) }
	}, leak.Named(name))
}

func TestTableOfNftables(t *testing.T) {
	c, err := nftables.New()
	if err != nil {
		t.Fatal(err)
	}
	table := &nftables.Table{Family: nftables.TableFamilyINet, Name: uniqueName()}
	expect(t, "nftables table "+table.Name, func() func() {
		c.AddTable(table)
		if err := c.Flush(); err != nil {
			t.Skipf("can't make a table here: %v", err)
		}
		return func() {
			c.DelTable(table)
			if err := c.Flush(); err != nil {
				t.Error(err)
			}
		}
	}, leak.Named(table.Name))
}

func TestDiffCountsRepeats(t *testing.T) {
	before := leak.State{"a": 1, "b": 2, "gone": 1}
	after := leak.State{"a": 3, "b": 2, "c": 1}
	got := strings.Join(leak.Diff(before, after), "; ")
	if want := "a (2 times); c"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestSettleEndsWithItsContext(t *testing.T) {
	dir := t.TempDir()
	before := snapshot(t, leak.Under(dir))
	if err := os.WriteFile(filepath.Join(dir, "left"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	left, err := leak.Settle(ctx, before, leak.Under(dir))
	if err != nil || len(left) != 1 {
		t.Errorf("got %q, %v; want the one file", left, err)
	}
}
