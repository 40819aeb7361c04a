package image_test

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"
	"golang.org/x/sys/unix"

	"github.com/unifaas/unifaas/internal/faas"
	"github.com/unifaas/unifaas/internal/image"
	"github.com/unifaas/unifaas/internal/image/imagetest"
	"github.com/unifaas/unifaas/internal/image/layer"
)

// Images that must be refused, from each source, and leave nothing behind.
func TestBadImages(t *testing.T) {
	good := imagetest.Files(t, map[string]string{"app": strings.Repeat("program", 9999)})
	truncated := good
	truncated.Packed = good.Packed[:len(good.Packed)/2]
	shortened := truncated // and its digest is right
	shortened.Digest = imagetest.Digest(shortened.Packed)
	otherDigest := good
	otherDigest.Packed = imagetest.Files(t, map[string]string{"app": "other"}).Packed
	otherDiffID := good
	otherDiffID.DiffID = imagetest.Digest([]byte("other"))
	one := func(headers ...tar.Header) imagetest.Layer {
		return imagetest.Gzip(t, imagetest.Tar(t, nil, headers...))
	}
	for name, test := range map[string]struct {
		layer imagetest.Layer
		want  string
		// only an OCI layout has other digests than the content's
		layout bool
	}{
		"truncated":           {truncated, "truncated", true},
		"shortened":           {shortened, "truncated", false},
		"wrong digest":        {otherDigest, "sha256:", true},
		"wrong diff id":       {otherDiffID, "wrong digest", false},
		"no archive":          {imagetest.Gzip(t, bytes.Repeat([]byte("text"), 999)), "damaged", false},
		"path leads out":      {one(tar.Header{Name: "../x"}), "leads out of the image", false},
		"absolute path":       {one(tar.Header{Name: "/x"}), "absolute path", false},
		"file behind link":    {one(tar.Header{Name: "l", Typeflag: tar.TypeSymlink, Linkname: "/etc"}, tar.Header{Name: "l/x"}), "behind a symbolic link", false},
		"hard link out":       {one(tar.Header{Name: "l", Typeflag: tar.TypeLink, Linkname: "../../etc/passwd"}), "leads out of the image", false},
		"hard link, absolute": {one(tar.Header{Name: "l", Typeflag: tar.TypeLink, Linkname: "/etc/shadow"}), "which is not there", false},
		"device":              {one(tar.Header{Name: "dev/sda", Typeflag: tar.TypeBlock, Devmajor: 8}), "device node", false},
		"bomb":                {bomb(t), "no program is like that", false},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPlaceWith(t, image.Options{Limits: layer.Limits{Slack: 1 << 20}})
			base := p.resolve(p.function("oci", imagetest.WriteLayout(t, hello(t))))
			img := hello(t)
			img.Layers = append(img.Layers, test.layer)
			wants := []string{"layer 4 of 4", test.want}
			p.refused(p.function("oci", imagetest.WriteLayout(t, img)), faas.KindInvalid, wants...)
			if !test.layout {
				p.refused(p.function("docker-archive", imagetest.WriteArchive(t, img)), faas.KindInvalid, wants...)
				reg := imagetest.Serve(t, nil)
				reg.Push("bad", img)
				p.refused(p.function("registry", reg.Host+"/bad"), faas.KindInvalid, wants...)
			}
			p.checkHello(base)
			p.nothingLeft()
		})
	}
}

// bomb is a layer of a gigabyte of zeros.
func bomb(t *testing.T) imagetest.Layer {
	t.Helper()
	const size = 1 << 30
	var archive, packed bytes.Buffer
	w := tar.NewWriter(&archive)
	if err := w.WriteHeader(&tar.Header{Name: "zeros", Typeflag: tar.TypeReg, Size: size, Mode: 0o644}); err != nil {
		t.Fatal(err)
	}
	z, err := gzip.NewWriterLevel(&packed, gzip.BestSpeed)
	if err != nil {
		t.Fatal(err)
	}
	zeros := make([]byte, 1<<20)
	_, err = z.Write(archive.Bytes())
	for range 64 { // the header is enough; the rest need not be there
		if err == nil {
			_, err = z.Write(zeros)
		}
	}
	if err != nil || z.Close() != nil {
		t.Fatal(err)
	}
	return imagetest.Layer{Packed: packed.Bytes(), Digest: imagetest.Digest(packed.Bytes()), DiffID: imagetest.Digest(nil)}
}

// A missing entrypoint is an error of the function that names no command
// either.
func TestMissingEntrypoint(t *testing.T) {
	img := hello(t)
	img.Config = imagetest.Config{}
	p := newPlace(t)
	rev := &faas.Revision{Function: *p.function("oci", imagetest.WriteLayout(t, img))}
	rev.Image = p.resolve(&rev.Function)
	if _, err := rev.Argv(); faas.KindOf(err) != faas.KindInvalid || err == nil || !strings.Contains(err.Error(), "no entrypoint") {
		t.Error(err)
	}
	if rev.Image.Config.WorkDir != "/" || rev.Image.Config.Port != 0 {
		t.Errorf("%+v", rev.Image.Config)
	}
}

func TestFullDisk(t *testing.T) {
	small := t.TempDir()
	if err := unix.Mount("tmpfs", small, "tmpfs", 0, "size=4m"); err != nil {
		t.Skip("mounting a tmpfs needs root: ", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(small, 0); err != nil {
			t.Error(err)
		}
	})
	p := newPlace(t)
	p.state = filepath.Join(small, "store")
	p.open(image.Options{Registry: hasty})
	base := p.resolve(p.function("oci", imagetest.WriteLayout(t, hello(t))))
	big := hello(t)
	big.Layers = append(big.Layers, imagetest.Files(t, map[string]string{"big": strings.Repeat("x", 6<<20)}))
	dir := imagetest.WriteLayout(t, big)
	p.refused(p.function("oci", dir), faas.KindBusy, "no space left", "prune")
	// What is seen beforehand.
	big.Layers[3] = imagetest.Plain(imagetest.Tar(t, map[string]string{"big": strings.Repeat("y", 6<<20)}, tar.Header{Name: "big"}))
	p.refused(p.function("oci", imagetest.WriteLayout(t, big)), faas.KindBusy, "no space left", "are needed at least")
	p.checkHello(base)
	p.nothingLeft()
}

func TestPruneImages(t *testing.T) {
	reg := imagetest.Serve(t, nil)
	img := hello(t)
	reg.Push("used", img)
	other := imagetest.Image{Layers: []imagetest.Layer{img.Layers[0], imagetest.Files(t, map[string]string{"asked": strings.Repeat("a", 1000)})}}
	reg.Push("asked", other)
	third := imagetest.Image{Layers: []imagetest.Layer{imagetest.Files(t, map[string]string{"loaded": strings.Repeat("l", 2000)})}}
	reg.Push("loaded", third)
	p := newPlaceWith(t, image.Options{Registry: hasty})
	used := p.function("registry", reg.Host+"/used")
	used.Files = map[string]string{"/extra": p.write("extra", "e", 0o600)}
	keep := p.resolve(used)
	if _, err := p.store.Pull(t.Context(), reg.Host+"/asked"); err != nil {
		t.Fatal(err)
	}
	p.resolve(p.function("registry", reg.Host+"/loaded"))

	rev := &faas.Revision{Function: *used, Image: keep}
	list, err := p.store.List(t.Context(), []*faas.Revision{rev})
	if err != nil || len(list) != 3 {
		t.Fatal(list, err)
	}
	for i, want := range []struct {
		name         string
		size, unique int64
	}{{"asked", 1000, 1000}, {"loaded", 2000, 2000}, {"used", 0, 0}} {
		l := list[i]
		if l.Source != reg.Host+"/"+want.name+":latest" || l.Unique < want.unique || l.Size < want.size || l.Size > want.size+100 || l.Unique > l.Size+100 {
			t.Errorf("%+v", l)
		}
	}
	if len(list[2].Functions) != 1 || list[2].Functions[0] != "f" || list[2].Size <= list[2].Unique {
		t.Errorf("%+v", list[2])
	}

	if _, err := p.store.Prune(t.Context(), []faas.Image{keep}, time.Hour); err != nil {
		t.Fatal(err)
	}
	p.known(reg, "asked", "loaded", "used")
	pruned, err := p.store.PruneImages(t.Context(), image.PruneOptions{Keep: []faas.Image{keep}, Loaded: true})
	if err != nil || len(pruned.References) != 1 || pruned.Bytes < 2000 || pruned.Trees != 1 {
		t.Errorf("%+v, %v", pruned, err)
	}
	p.known(reg, "asked", "used")
	pruned, err = p.store.PruneImages(t.Context(), image.PruneOptions{Keep: []faas.Image{keep}, Loaded: true, Asked: true})
	if err != nil || len(pruned.References) != 1 || pruned.Bytes != 1000 {
		t.Errorf("%+v, %v", pruned, err)
	}
	p.known(reg, "used")
	p.checkHello(keep)
	// What is kept can be used without the registry, also the layers below.
	p.resolve(p.function("registry", reg.Host+"/used"))
	if _, err := p.store.PruneImages(t.Context(), image.PruneOptions{Loaded: true, Asked: true}); err != nil {
		t.Fatal(err)
	}
	for _, folder := range []string{"trees", "tmp", "records/pins", "records/images", "records/layers", "records/bases"} {
		if entries, err := os.ReadDir(filepath.Join(p.state, folder)); err != nil || len(entries) > 0 {
			t.Error("left:", entries, err)
		}
	}
	left := 0
	err = filepath.WalkDir(filepath.Join(p.state, "objects"), func(_ string, d os.DirEntry, err error) error {
		if !d.IsDir() {
			left++
		}
		return err
	})
	if left > 0 || err != nil {
		t.Errorf("%d objects are left, %v", left, err)
	}
}

// known checks which references are pinned, and that they can be used without
// their registry.
func (p *place) known(reg *imagetest.Registry, names ...string) {
	p.t.Helper()
	list, err := p.store.List(p.t.Context(), nil)
	if err != nil {
		p.t.Fatal(err)
	}
	var got []string
	for _, l := range list {
		if l.Source != "" {
			got = append(got, strings.TrimSuffix(strings.TrimPrefix(l.Source, reg.Host+"/"), ":latest"))
		}
	}
	if fmt.Sprint(got) != fmt.Sprint(names) {
		p.t.Errorf("known are %v, want %v", got, names)
	}
}

// A pull that is killed at any point leaves a store that the next run uses.
func TestGivenUpPullLeavesTheStoreSound(t *testing.T) {
	img := hello(t)
	img.Layers = append(img.Layers, imagetest.Files(t, map[string]string{"big": strings.Repeat("0123", 1<<19)}))
	dir := imagetest.WriteLayout(t, img)
	p := newPlace(t)
	for after := time.Duration(0); ; after += 500 * time.Microsecond {
		ctx, cancel := context.WithTimeout(t.Context(), after)
		_, err := p.store.Resolve(ctx, p.function("oci", dir))
		cancel()
		p.nothingLeft()
		if err == nil {
			break
		}
		if kind := faas.KindOf(err); kind != faas.KindTimeout && kind != faas.KindCanceled {
			t.Fatal(err)
		}
	}
	p.checkHello(p.resolve(p.function("oci", dir)))
}
