package container

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

func TestRanges(t *testing.T) {
	r := &ids{first: DefaultFirstUID, next: idRanges - 1}
	// The second and third are somebody's, by one number each.
	r.leaveOut(strings.NewReader(fmt.Sprintf("broken\nyou:100000:65536\nme:%d:2\n", DefaultFirstUID+2*idRange-1)))
	var got []uint32
	for range 3 {
		base, err := r.take()
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, (base-DefaultFirstUID)/idRange)
	}
	if want := []uint32{idRanges - 1, 0, 3}; fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("taken: got %v, want %v", got, want)
	}
	for range idRanges - 5 {
		if _, err := r.take(); err != nil {
			t.Fatal(err)
		}
	}
	if base, err := r.take(); err == nil {
		t.Errorf("all are taken, but %d was given out", base)
	}
	r.set(DefaultFirstUID+9*idRange, false)
	if base, err := r.take(); err != nil || base != DefaultFirstUID+9*idRange {
		t.Errorf("after one was given back: got %d, %v", base, err)
	}
	for _, strange := range []uint32{0, 1, DefaultFirstUID + 1, 1<<32 - 1} {
		r.set(strange, false)
	}
	if _, err := r.take(); err == nil {
		t.Error("what was never given out came back")
	}
	(*ids)(nil).set(DefaultFirstUID, true)
}

func TestMapped(t *testing.T) {
	r := &ids{first: DefaultFirstUID}
	for text, want := range map[string]bool{
		"         0          0 4294967295\n":                          true,
		"0 100000 65536\n":                                            false,
		"0 0 1\n1 1 4294967294\n":                                     true,
		fmt.Sprintf("%d 7 %d\n", DefaultFirstUID, idRange*idRanges):   true,
		fmt.Sprintf("%d 7 %d\n", DefaultFirstUID, idRange*idRanges-1): false,
		"x y z\n": false, "": false,
	} {
		if got := r.mapped(strings.NewReader(text)); got != want {
			t.Errorf("%q: got %v", text, got)
		}
	}
}

func FuzzSubordinates(f *testing.F) {
	f.Add("me:2000224256:65536\n")
	f.Add("::\n")
	f.Fuzz(func(_ *testing.T, text string) {
		r := &ids{first: DefaultFirstUID}
		r.leaveOut(strings.NewReader(text))
		r.mapped(strings.NewReader(text))
	})
}

func TestDiagnose(t *testing.T) {
	proc := t.TempDir()
	set := func(name, value string) {
		path := filepath.Join(proc, "sys", name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(value+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	set("kernel/seccomp/actions_avail", "allow")
	set("kernel/apparmor_restrict_unprivileged_userns", "1")
	eperm := fmt.Errorf("start launcher: %w", syscall.EPERM)
	for _, c := range []struct {
		uid           int
		err           error
		words, advice string
	}{
		{1000, eperm, "AppArmor", "apparmor_restrict_unprivileged_userns=0"},
		{0, eperm, "start launcher: operation not permitted", "--privileged"},
		{0, errors.New("odd"), "odd", ""},
		{1000, errNoLauncher, "no launcher", "make build"},
	} {
		reason, remedy := diagnose(proc, c.uid, c.err)
		if !strings.Contains(reason, c.words) || !strings.Contains(remedy, c.advice) {
			t.Errorf("user %d, %v: got %q, %q", c.uid, c.err, reason, remedy)
		}
	}
	set("user/max_user_namespaces", "0")
	if reason, remedy := diagnose(proc, 0, eperm); !strings.Contains(reason, "no user namespaces") || remedy == "" {
		t.Errorf("without user namespaces: got %q, %q", reason, remedy)
	}
}

// TestLauncherIsSealed: whoever gets hold of the launcher's file can't change
// it, not even root by another way.
func TestLauncherIsSealed(t *testing.T) {
	for name, open := range map[string]func() (*os.File, error){
		"in memory": func() (*os.File, error) { return openLauncher([]byte("program"), "") },
		"on disk":   func() (*os.File, error) { return launcherOnDisk([]byte("program"), t.TempDir()) },
	} {
		f, err := open()
		if err != nil {
			t.Fatal(name, err)
		}
		if info, err := f.Stat(); err != nil || info.Mode().Perm()&0o066 != 0 {
			t.Errorf("%s: others may read or write it: %v, %v", name, info.Mode(), err)
		}
		if _, err := f.WriteAt([]byte("x"), 0); err == nil {
			t.Errorf("%s: it can be written to", name)
		}
		if name == "in memory" {
			if w, err := os.OpenFile(fmt.Sprintf("/proc/self/fd/%d", f.Fd()), os.O_RDWR|os.O_TRUNC, 0); err == nil {
				if _, err := w.WriteAt([]byte("x"), 0); err == nil {
					t.Errorf("%s: opened anew it can be written to", name)
				}
				_ = w.Close()
			}
		}
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestRootIsPrivate mounts in a root as the launcher does, where the host's
// mounts are shared. The thread that does so has a copy of them and ends.
func TestRootIsPrivate(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root may mount; TestConformance covers what others see")
	}
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "sub"), 0o755); err != nil {
		t.Fatal(err)
	}
	result := make(chan error)
	go func() {
		runtime.LockOSThread()
		result <- mountInSharedRoot(dir)
	}()
	if err := <-result; err != nil {
		t.Error(err)
	}
}

func mountInSharedRoot(dir string) error {
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return err
	}
	if err := unix.Mount("", "/", "", unix.MS_PRIVATE|unix.MS_REC, ""); err != nil {
		return err
	}
	if err := unix.Mount(dir, dir, "", unix.MS_BIND, ""); err != nil {
		return err
	}
	if err := unix.Mount("", dir, "", unix.MS_SHARED, ""); err != nil {
		return err
	}
	root, err := openRoot(dir, os.Getpid())
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(root) }()
	if err := unix.MoveMount(root, "", unix.AT_FDCWD, "/", unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return err
	}
	if err := unix.Mount("inside", fmt.Sprintf("/proc/thread-self/fd/%d/sub", root), "tmpfs", 0, ""); err != nil {
		return err
	}
	mounts, err := os.ReadFile("/proc/thread-self/mountinfo")
	if n := strings.Count(string(mounts), " inside "); err == nil && n != 1 {
		err = fmt.Errorf("a mount in the root is there %d times, want once:\n%s", n, mounts)
	}
	return err
}
