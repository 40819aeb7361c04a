package image_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/unifaas/unifaas/internal/faas"
)

func TestFilesIntoTheImage(t *testing.T) {
	p := newPlace(t)
	p.write("src/index.js", "code", 0o640)
	p.write("src/bin/run", "tool", unix.S_ISUID|0o755)
	p.link("src/shadow", "/etc/shadow")
	p.link("src/up", "../../../../etc")
	p.write("real.conf", "config", 0o600)
	p.link("config", "real.conf")
	p.link("tree", "src")
	old := time.Unix(1_500_000_000, 0)
	if err := os.Chtimes(p.path("src/index.js"), old, old); err != nil {
		t.Fatal(err)
	}
	fn := p.function("file", p.write("server", static(t, ""), 0o755))
	fn.Files = map[string]string{"/app": p.path("tree"), "/etc/app.conf": p.path("config"), "/etc/hosts": p.path("real.conf")}
	img := p.resolve(fn)
	p.has(img, "/app/index.js", "code")
	p.has(img, "/etc/app.conf", "config")
	p.has(img, "/etc/hosts", "config")
	if st := p.lstat(img, "/app/index.js"); st.Mode != unix.S_IFREG|0o640 || st.Mtim.Sec != old.Unix() {
		t.Errorf("mode %o, time %v", st.Mode, st.Mtim)
	}
	if st := p.lstat(img, "/app/bin/run"); st.Mode != unix.S_IFREG|0o755 {
		t.Errorf("an application's file has mode %o", st.Mode)
	}
	for name, want := range map[string]string{"/app/shadow": "/etc/shadow", "/app/up": "../../../../etc"} {
		if target, err := os.Readlink(img.Rootfs + name); err != nil || target != want {
			t.Errorf("%s leads to %q, %v", name, target, err)
		}
	}
	fn.Files["/missing"] = p.path("missing")
	p.refused(fn, faas.KindInvalid, `"/missing"`, p.path("missing"))
}

func TestFilesOverALinkOfTheImageStayInside(t *testing.T) {
	p := newPlace(t)
	victim := t.TempDir()
	p.write("root/bin/sh", "shell", 0o755)
	p.link("root/app", victim)
	p.link("root/lib", "usr/lib")
	p.write("src/a", "a", 0o644)
	fn := p.function("dir", p.path("root"))
	fn.Files = map[string]string{"/app/deep": p.path("src"), "/lib/x": p.path("src/a")}
	img := p.resolve(fn)
	if entries, err := os.ReadDir(victim); err != nil || len(entries) != 0 {
		t.Error("written to the host:", entries, err)
	}
	p.has(img, filepath.Join(victim, "deep/a"), "a")
	p.has(img, "/usr/lib/x", "a")
}

func TestDirOfARootFileSystem(t *testing.T) {
	p := newPlace(t)
	p.write("root/usr/bin/su", "su", unix.S_ISUID|0o755)
	p.write("root/etc/a", "same", 0o644)
	if err := os.Link(p.path("root/etc/a"), p.path("root/etc/b")); err != nil {
		t.Fatal(err)
	}
	p.link("root/bin", "usr/bin")
	if err := unix.Mkfifo(p.path("root/fifo"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(p.path("root/tmp"), 0o700); err != nil {
		t.Fatal(err)
	}
	img := p.resolve(p.function("dir", p.path("root")))
	if a, b := p.lstat(img, "/etc/a"), p.lstat(img, "/etc/b"); a.Ino != b.Ino {
		t.Error("a hard link became two files")
	}
	if _, err := os.Lstat(img.Rootfs + "/fifo"); !errors.Is(err, fs.ErrNotExist) {
		t.Error("a FIFO is in the image:", err)
	}
	if st := p.lstat(img, "/tmp"); st.Mode&0o777 != 0o700 {
		t.Errorf("/tmp has mode %o; the image's own counts", st.Mode)
	}
	p.lstat(img, "/proc")
	if len(img.Config.Entrypoint) != 0 {
		t.Error("a folder names no entrypoint, but here is", img.Config.Entrypoint)
	}
	want := uint32(unix.S_IFREG | 0o755)
	if os.Geteuid() == 0 {
		want |= unix.S_ISUID
	}
	if st := p.lstat(img, "/usr/bin/su"); st.Mode != want {
		t.Errorf("su has mode %o, want %o", st.Mode, want)
	}
	p.refused(p.function("dir", p.path("missing")), faas.KindInvalid, p.path("missing"))
	p.refused(p.function("dir", p.path("root/etc/a")), faas.KindInvalid, p.path("root/etc/a"))
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
}

func TestDirKeepsOwnersAndCapabilities(t *testing.T) {
	needRoot(t)
	p := newPlace(t)
	ping := p.write("root/ping", "ping", 0o755)
	if err := os.Chown(ping, 12, 34); err != nil {
		t.Fatal(err)
	}
	// vfs_cap_data, version 2, cap_net_raw permitted and effective: linux/capability.h.
	capability := "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"
	if err := unix.Setxattr(ping, "security.capability", []byte(capability), 0); err != nil {
		t.Skip("capabilities can't be set here: ", err)
	}
	img := p.resolve(p.function("dir", p.path("root")))
	if st := p.lstat(img, "/ping"); st.Uid != 12 || st.Gid != 34 {
		t.Errorf("owner %d:%d", st.Uid, st.Gid)
	}
	buf := make([]byte, 64)
	n, err := unix.Getxattr(img.Rootfs+"/ping", "security.capability", buf)
	if err != nil || string(buf[:n]) != capability {
		t.Errorf("capability %q, %v", buf[:max(n, 0)], err)
	}
}

func TestDevices(t *testing.T) {
	needRoot(t)
	p := newPlace(t)
	p.write("root/dev/.keep", "", 0o644)
	null := int(unix.Mkdev(1, 3))
	if err := unix.Mknod(p.path("root/dev/null"), unix.S_IFCHR|0o666, null); err != nil {
		t.Skip("devices can't be made here: ", err)
	}
	fn := p.function("dir", p.path("root"))
	img := p.resolve(fn)
	if _, err := os.Lstat(img.Rootfs + "/dev/null"); !errors.Is(err, fs.ErrNotExist) {
		t.Error("a device is in the image:", err)
	}
	p.write("root/srv/.keep", "", 0o644)
	if err := unix.Mknod(p.path("root/srv/zero"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 5))); err != nil {
		t.Fatal(err)
	}
	p.refused(fn, faas.KindInvalid, p.path("root/srv/zero"), "is a device")
}

func TestMountedPseudoFileSystemsAreLeftOut(t *testing.T) {
	needRoot(t)
	p := newPlace(t)
	proc := p.path("root/proc")
	if err := os.MkdirAll(proc, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("proc", proc, "proc", 0, ""); err != nil {
		t.Skip("proc can't be mounted here: ", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(proc, 0); err != nil {
			t.Error(err)
		}
	})
	img := p.resolve(p.function("dir", p.path("root")))
	if entries, err := os.ReadDir(img.Rootfs + "/proc"); err != nil || len(entries) != 0 {
		t.Error("/proc holds", entries, err)
	}
}

// A folder that is swapped for a link to the host, again and again, while it
// is read: no content of the host gets in, however the race ends.
func TestSwappedFolderLeadsNowhere(t *testing.T) {
	p := newPlace(t)
	secret := filepath.Join(t.TempDir(), "host")
	if err := os.MkdirAll(secret, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(secret, "file"), []byte("secret of the host"), 0o600); err != nil {
		t.Fatal(err)
	}
	p.write("root/sub/file", "own", 0o644)
	p.link("link", secret)
	stop := make(chan struct{})
	var swapper sync.WaitGroup
	swapper.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			if err := unix.Renameat2(unix.AT_FDCWD, p.path("root/sub"), unix.AT_FDCWD, p.path("link"), unix.RENAME_EXCHANGE); err != nil {
				t.Error(err)
				return
			}
			time.Sleep(200 * time.Microsecond) // so that each state is met now and then
		}
	})
	fn := p.function("dir", p.path("root"))
	outcomes := map[string]int{}
	for range 300 {
		img, err := p.store.Resolve(t.Context(), fn)
		if err != nil {
			outcomes["refused"]++
			continue
		}
		info, err := os.Lstat(img.Rootfs + "/sub")
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode()&fs.ModeSymlink != 0 {
			outcomes["link"]++
			continue
		}
		outcomes["folder"]++
		if got, err := os.ReadFile(img.Rootfs + "/sub/file"); err == nil && string(got) != "own" {
			t.Fatalf("the image holds %q", got)
		}
	}
	close(stop)
	swapper.Wait()
	t.Log(outcomes)
}

func TestLargeTreeIsImportedInParallel(t *testing.T) {
	p := newPlace(t)
	for i := range 300 {
		p.write(fmt.Sprintf("root/d%d/f%d", i%20, i), fmt.Sprint("content ", i), 0o644)
	}
	fn := p.function("dir", p.path("root"))
	first := p.resolve(fn)
	p.has(first, "/d7/f107", "content 107")
	p.write("root/d7/f107", "changed", 0o644)
	second := p.resolve(fn)
	p.has(second, "/d7/f107", "changed")
	p.has(first, "/d7/f107", "content 107")
	if a, b := p.lstat(first, "/d7/f127"), p.lstat(second, "/d7/f127"); a.Ino != b.Ino {
		t.Error("what has not changed takes space twice")
	}
}
