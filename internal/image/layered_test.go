package image_test

import (
	"archive/tar"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/unifaas/unifaas/internal/faas"
	"github.com/unifaas/unifaas/internal/image/imagetest"
)

// hello is an image of three layers, each packed in another way.
func hello(t testing.TB) imagetest.Image {
	t.Helper()
	base := imagetest.Tar(t, map[string]string{"etc/passwd": "app:x:7:8::/:\n", "usr/lib/a": "a", "old/x": "x", "gone": "g"},
		tar.Header{Name: "./", Typeflag: tar.TypeDir}, tar.Header{Name: "etc/", Typeflag: tar.TypeDir},
		tar.Header{Name: "etc/passwd"}, tar.Header{Name: "usr/lib/a"}, tar.Header{Name: "old/x"}, tar.Header{Name: "gone"},
		tar.Header{Name: "lib", Typeflag: tar.TypeSymlink, Linkname: "usr/lib"})
	middle := imagetest.Tar(t, map[string]string{"lib/b": "b", "old/y": "y"},
		tar.Header{Name: "lib/b"}, tar.Header{Name: "old/.wh..wh..opq"}, tar.Header{Name: "old/y"}, tar.Header{Name: ".wh.gone"})
	top := imagetest.Tar(t, map[string]string{"app": "#!program"},
		tar.Header{Name: "app", Mode: 0o4755}, tar.Header{Name: "app2", Typeflag: tar.TypeLink, Linkname: "app"})
	return imagetest.Image{
		Layers: []imagetest.Layer{imagetest.Gzip(t, base), imagetest.Zstd(t, middle), imagetest.Plain(top)},
		Config: imagetest.Config{
			Entrypoint: []string{"/app"}, Cmd: []string{"-v"}, Env: []string{"A=1"}, User: "app", WorkingDir: "work/here",
			ExposedPorts: map[string]struct{}{"9000/tcp": {}, "53/udp": {}, "9443": {}},
		},
	}
}

var helloConfig = faas.ImageConfig{
	Entrypoint: []string{"/app", "-v"}, Env: []string{"A=1"}, User: "app", WorkDir: "/work/here", Port: 9000,
}

func (p *place) checkHello(img faas.Image) {
	p.t.Helper()
	if diff := cmp.Diff(helloConfig, img.Config); diff != "" {
		p.t.Error(diff)
	}
	for name, want := range map[string]string{
		"etc/passwd": "app:x:7:8::/:\n", "usr/lib/a": "a", "usr/lib/b": "b", "old/y": "y", "app": "#!program", "app2": "#!program",
	} {
		p.has(img, name, want)
	}
	for _, name := range []string{"gone", "old/x", ".wh.gone", "old/.wh..wh..opq"} {
		if _, err := os.Lstat(filepath.Join(img.Rootfs, name)); err == nil {
			p.t.Error("still there:", name)
		}
	}
	for _, name := range []string{"work/here", "proc", "sys", "dev", "tmp"} {
		if info, err := os.Lstat(filepath.Join(img.Rootfs, name)); err != nil || !info.IsDir() {
			p.t.Error("no folder", name)
		}
	}
}

func TestImageSources(t *testing.T) {
	img := hello(t)
	reg := imagetest.Serve(t, nil)
	reg.Push("team/hello:v1", img)
	for scheme, location := range map[string]string{
		"oci":            imagetest.WriteLayout(t, imagetest.Image{Arch: "s390x"}, img),
		"docker-archive": imagetest.WriteArchive(t, img),
		"registry":       reg.Host + "/team/hello:v1",
	} {
		t.Run(scheme, func(t *testing.T) {
			p := newPlace(t)
			fn := p.function(scheme, location)
			got := p.resolve(fn)
			p.checkHello(got)
			if again := p.resolve(fn); again.Digest != got.Digest || again.Rootfs != got.Rootfs {
				t.Error("another image:", again)
			}
			fn.Files = map[string]string{"/lib/c": p.write("c", "c", 0o600)}
			withFiles := p.resolve(fn)
			p.checkHello(withFiles)
			p.has(withFiles, "usr/lib/c", "c")
			if withFiles.Rootfs == got.Rootfs {
				t.Error("the file has gone into the image of others")
			}
			if inputs := p.store.Inputs(p.function(scheme, location)); len(inputs) != 1 || !filepath.IsAbs(inputs[0]) {
				t.Error("inputs:", inputs)
			}
		})
	}
}

// All sources of one image make one tree, and its layers are unpacked once.
func TestSourcesShareAStore(t *testing.T) {
	img, p := hello(t), newPlace(t)
	first := p.resolve(p.function("oci", imagetest.WriteLayout(t, img)))
	second := p.resolve(p.function("docker-archive", imagetest.WriteArchive(t, img)))
	if first.Rootfs != second.Rootfs || first.Digest != second.Digest {
		t.Error("two images", first, second)
	}
	// The layers below are not there any more: nobody asks for them.
	other := img
	other.Layers = append(other.Layers[:3:3], imagetest.Files(t, map[string]string{"more": "m"}))
	dir := imagetest.WriteLayout(t, other)
	for _, l := range img.Layers {
		if err := os.Remove(filepath.Join(dir, "blobs/sha256", strings.TrimPrefix(l.Digest, "sha256:"))); err != nil {
			t.Fatal(err)
		}
	}
	third := p.resolve(p.function("oci", dir))
	p.checkHello(third)
	p.has(third, "more", "m")
	if a, b := p.lstat(first, "app"), p.lstat(third, "app"); a.Ino != b.Ino {
		t.Error("the file of the shared layer is there twice")
	}
}

func TestPlatforms(t *testing.T) {
	foreign := hello(t)
	foreign.Arch = "s390x"
	windows := hello(t)
	windows.OS = "windows"
	p := newPlace(t)
	p.refused(p.function("oci", imagetest.WriteLayout(t, foreign, windows)), faas.KindInvalid, "linux/s390x, windows/", "for this machine, linux/")
	p.refused(p.function("docker-archive", imagetest.WriteArchive(t, foreign)), faas.KindInvalid, "it is for linux/s390x")
	reg := imagetest.Serve(t, nil)
	reg.PushIndex("many", foreign, hello(t), windows)
	p.checkHello(p.resolve(p.function("registry", reg.Host+"/many")))
	reg.Push("single", foreign)
	p.refused(p.function("registry", reg.Host+"/single"), faas.KindInvalid, "it is for linux/s390x")
	p.nothingLeft()
}

func TestWhatIsNoImage(t *testing.T) {
	p := newPlace(t)
	p.refused(p.function("oci", t.TempDir()), faas.KindInvalid, "no OCI layout", "index.json")
	p.refused(p.function("oci", p.path("missing")), faas.KindInvalid, "no such file")
	p.refused(p.function("docker-archive", p.write("gz", "\x1f\x8b0", 0o600)), faas.KindInvalid, "gunzip")
	p.refused(p.function("docker-archive", p.write("text", strings.Repeat("text", 999), 0o600)), faas.KindInvalid, "no archive of docker save")
	p.refused(p.function("docker-archive", p.write("empty", "", 0o600)), faas.KindInvalid, "manifest.json")
	archive, err := os.ReadFile(imagetest.WriteArchive(t, hello(t)))
	if err != nil {
		t.Fatal(err)
	}
	p.refused(p.function("docker-archive", p.write("half", string(archive[:len(archive)/2]), 0o600)), faas.KindInvalid, `half"`)
	p.refused(p.function("registry", "UPPER/case"), faas.KindInvalid, "no reference")
	p.nothingLeft()
}

// nothingLeft checks that the store has no half of anything.
func (p *place) nothingLeft() {
	p.t.Helper()
	entries, err := os.ReadDir(filepath.Join(p.state, "tmp"))
	if err != nil || len(entries) != 0 {
		p.t.Error("left in tmp:", entries, err)
	}
	trees, err := os.ReadDir(filepath.Join(p.state, "trees"))
	if err != nil {
		p.t.Fatal(err)
	}
	for _, e := range trees {
		rootfs := filepath.Join(p.state, "trees", e.Name(), "rootfs")
		if err := p.store.Verify(p.t.Context(), faas.Image{Rootfs: rootfs}); err != nil {
			p.t.Error(err)
		}
	}
}

// Owners, modes and attributes arrive, and what shares content but not those
// is two files.
func TestMetadataArrives(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root may give files away")
	}
	attr := map[string]string{"SCHILY.xattr.user.a": "1"}
	archive := imagetest.Tar(t, map[string]string{"a": "same", "b": "same", "c": "same"},
		tar.Header{Name: "a", Mode: 0o4711, Uid: 7, Gid: 8}, tar.Header{Name: "b", PAXRecords: attr},
		tar.Header{Name: "c"}, tar.Header{Name: "d", Typeflag: tar.TypeDir, Mode: 0o1777, PAXRecords: attr})
	p := newPlace(t)
	img := p.resolve(p.function("oci", imagetest.WriteLayout(t, imagetest.Image{Layers: []imagetest.Layer{imagetest.Plain(archive)}})))
	a, b, c, d := p.lstat(img, "a"), p.lstat(img, "b"), p.lstat(img, "c"), p.lstat(img, "d")
	if a.Mode&0o7777 != 0o4711 || a.Uid != 7 || a.Gid != 8 || d.Mode&0o7777 != 0o1777 {
		t.Errorf("%+v %+v", a, d)
	}
	if a.Ino == b.Ino || b.Ino == c.Ino {
		t.Error("files with other metadata are one")
	}
	for name, want := range map[string]string{"b": "1", "c": "", "d": "1"} {
		value := make([]byte, 9)
		n, err := unix.Getxattr(filepath.Join(img.Rootfs, name), "user.a", value)
		if errors.Is(err, unix.ENOTSUP) {
			t.Skip("the file system has no attributes of users")
		}
		if string(value[:max(n, 0)]) != want {
			t.Errorf("%s has %q, %v", name, value, err)
		}
	}
}
