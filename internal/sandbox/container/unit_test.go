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
