package image_test

import (
	"archive/tar"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/unifaas/unifaas/internal/image/imagetest"
)

// A builder makes a random layer twice: as an archive, and as a folder with
// the whiteouts of Linux's overlayfs.
type builder struct {
	t        *testing.T
	dir      string
	has      map[string]byte // types of what the layer has; 'w' for whiteouts
	headers  []tar.Header
	contents map[string]string
}

// parents makes the folders above p, as a layer of a real file system has
// them. It reports whether that is possible.
func (b *builder) parents(p string) bool {
	for at, c := range p {
		if c == '/' && !b.folder(p[:at]) {
			return false
		}
	}
	return b.has[p] == 0
}

func (b *builder) folder(p string) bool {
	if kind := b.has[p]; kind != 0 {
		return kind == tar.TypeDir
	}
	b.add(p, tar.Header{Name: p + "/", Typeflag: tar.TypeDir, Mode: 0o700 + int64(len(p))})
	b.do(os.Mkdir(filepath.Join(b.dir, p), 0o700))
	b.do(os.Chmod(filepath.Join(b.dir, p), 0o700+fs.FileMode(len(p))))
	return true
}

func (b *builder) add(p string, h tar.Header) {
	b.has[p] = h.Typeflag
	b.headers = append(b.headers, h)
}

func (b *builder) do(err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
}

func (b *builder) change(random *rand.Rand, content string) {
	parts := make([]string, 1+random.IntN(3))
	for i := range parts {
		parts[i] = string(rune('a' + random.IntN(3)))
	}
	p := path.Join(parts...)
	outside := filepath.Join(b.dir, p)
	if !b.parents(p) {
		return
	}
	switch random.IntN(5) {
	case 0:
		b.contents[p] = content
		b.add(p, tar.Header{Name: p, Typeflag: tar.TypeReg, Mode: 0o640, Uid: 5})
		b.do(os.WriteFile(outside, []byte(content), 0o600))
		b.do(os.Chmod(outside, 0o640))
		b.do(os.Chown(outside, 5, 0))
	case 1:
		b.add(p, tar.Header{Name: p, Typeflag: tar.TypeSymlink, Linkname: content})
		b.do(os.Symlink(content, outside))
	case 2:
		b.add(p, tar.Header{Name: path.Join(path.Dir(p), ".wh."+path.Base(p)), Typeflag: tar.TypeReg})
		b.has[p] = 'w'
		b.do(unix.Mknod(outside, unix.S_IFCHR, 0))
	case 3:
		b.folder(p)
		b.headers = append(b.headers, tar.Header{Name: p + "/.wh..wh..opq", Typeflag: tar.TypeReg})
		b.do(unix.Setxattr(outside, "trusted.overlay.opaque", []byte("y"), 0))
	default:
		b.folder(p)
	}
}

// What the kernel's overlayfs shows of random layers, a function sees.
func TestLayersLookAsInOverlayfs(t *testing.T) {
	for seed := range uint64(25) {
		random := rand.New(rand.NewPCG(seed, 0))
		var img imagetest.Image
		var lowers []string
		for n := range 2 + random.IntN(3) {
			b := &builder{t: t, dir: t.TempDir(), has: map[string]byte{}, contents: map[string]string{}}
			for i := range 4 + random.IntN(8) {
				b.change(random, fmt.Sprintf("%d-%d", n, i))
			}
			img.Layers = append(img.Layers, imagetest.Gzip(t, imagetest.Tar(t, b.contents, b.headers...)))
			lowers = append([]string{b.dir}, lowers...)
		}
		merged := t.TempDir()
		if err := unix.Mount("overlay", merged, "overlay", unix.MS_RDONLY, "lowerdir="+strings.Join(lowers, ":")); err != nil {
			t.Skip("mounting an overlay needs root and a file system that it can lie on: ", err)
		}
		t.Cleanup(func() {
			if err := unix.Unmount(merged, 0); err != nil {
				t.Error(err)
			}
		})
		want := look(t, merged)
		p := newPlace(t)
		got := look(t, p.resolve(p.function("oci", imagetest.WriteLayout(t, img))).Rootfs)
		for _, point := range []string{"proc", "sys", "dev", "tmp"} {
			delete(got, point)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("seed %d: overlayfs (-) and we (+):\n%s", seed, diff)
		}
	}
}

// look describes what is below a folder.
func look(t *testing.T, root string) map[string]string {
	t.Helper()
	seen := map[string]string{}
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		rel, relErr := filepath.Rel(root, name)
		if err = errors.Join(err, relErr); err != nil || rel == "." {
			return err
		}
		var st unix.Stat_t
		if err := unix.Lstat(name, &st); errors.Is(err, unix.ENOENT) {
			return nil // overlayfs lists whiteouts of folders that one layer has only
		} else if err != nil {
			return err
		}
		text := fmt.Sprintf("%o %d ", st.Mode, st.Uid)
		switch d.Type() {
		case fs.ModeSymlink:
			target, err := os.Readlink(name)
			seen[rel] = text + target
			return err
		case 0:
			content, err := os.ReadFile(name)
			seen[rel] = text + string(content)
			return err
		}
		seen[rel] = text
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return seen
}
