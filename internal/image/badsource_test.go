package image_test

import (
	"archive/tar"
	"bytes"
	"encoding/binary"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/unifaas/unifaas/internal/faas"
	"github.com/unifaas/unifaas/internal/image"
	"github.com/unifaas/unifaas/internal/image/imagetest"
)

// Images that claim to be far larger than they are, with the limits that the
// platform has, from each source.
func TestBombsWithDefaultLimits(t *testing.T) {
	for name, test := range map[string]struct {
		layer imagetest.Layer
		most  int // bytes of the layer as it is transferred
		want  string
	}{
		"1 TB sparse file":             {imagetest.Plain(imagetest.Sparse(1 << 40)), 10_000, "the limit of one file"},
		"1 TB sparse file, compressed": {imagetest.Gzip(t, imagetest.Sparse(1<<40)), 10_000, "the limit of one file"},
		"10 GB from 10 KB":             {imagetest.Plain(imagetest.Sparse(10e9)), 10_000, "the limit of one file"},
		"8 GB from 10 KB":              {imagetest.Gzip(t, imagetest.Sparse(8e9)), 10_000, "no program is like that"},
		"10 GB of zeros":               {zeros(10, 1e9), 400_000, "no program is like that"},
		"10 GB of small files":         {zeros(100, 1e8), 400_000, "no program is like that"},
	} {
		t.Run(name, func(t *testing.T) {
			if n := len(test.layer.Packed); n > test.most {
				t.Fatalf("the layer has %d bytes", n)
			}
			p := newPlaceWith(t, image.Options{Registry: hasty, Patience: 2 * time.Minute})
			base := p.resolve(p.function("oci", imagetest.WriteLayout(t, hello(t))))
			img := hello(t)
			img.Layers = append(img.Layers, test.layer)
			reg := imagetest.Serve(t, nil)
			reg.Push("bomb", img)
			before := p.free()
			for scheme, location := range map[string]string{
				"oci": imagetest.WriteLayout(t, img), "docker-archive": imagetest.WriteArchive(t, img), "registry": reg.Host + "/bomb",
			} {
				p.refused(p.function(scheme, location), faas.KindInvalid, "layer 4 of 4", test.want)
			}
			// Others write, too, but not this much.
			if lost := before - p.free(); lost > 1<<30 {
				t.Errorf("the disk lost %d bytes", lost)
			}
			p.checkHello(base)
			p.nothingLeft()
		})
	}
}

// free is the space on the store's disk, in bytes.
func (p *place) free() int64 {
	p.t.Helper()
	var fs unix.Statfs_t
	if err := unix.Statfs(p.state, &fs); err != nil {
		p.t.Fatal(err)
	}
	return int64(fs.Bfree) * fs.Bsize
}

// zeros is a layer of files of zeros, compressed as well as Zstandard can: a
// block of 128 KiB of the same byte takes four bytes (RFC 8878, 3.1.1.2).
func zeros(files int, size int64) imagetest.Layer {
	var packed bytes.Buffer
	for n := range files {
		var head bytes.Buffer
		w := tar.NewWriter(&head)
		// A buffer takes any header.
		_ = w.WriteHeader(&tar.Header{Name: fmt.Sprint("zeros", n), Typeflag: tar.TypeReg, Size: size, Mode: 0o644})
		packed.Write([]byte{0x28, 0xb5, 0x2f, 0xfd, 0, 0x38}) // a frame's magic number, no options, a window of 128 KiB
		block(&packed, false, 0, head.Len())
		packed.Write(head.Bytes())
		padded := (size + 511) / 512 * 512
		for ; padded > 0; padded -= 1 << 17 {
			block(&packed, padded <= 1<<17, 1, int(min(padded, 1<<17)))
			packed.WriteByte(0)
		}
	}
	return imagetest.Layer{Packed: packed.Bytes(), Digest: imagetest.Digest(packed.Bytes()), DiffID: imagetest.Digest(nil)}
}

// block writes a block's header: whether it is the last, its type (0: as it
// is, 1: one byte again and again), its size.
func block(b *bytes.Buffer, last bool, kind, size int) {
	head := uint32(kind<<1 | size<<3)
	if last {
		head |= 1
	}
	b.Write(binary.LittleEndian.AppendUint32(nil, head)[:3])
}

// answers has a registry answer with a body of its own.
func answers(body []byte) func(int64, http.ResponseWriter, *http.Request) bool {
	return func(_ int64, w http.ResponseWriter, r *http.Request) bool {
		w.Header().Set("Content-Length", fmt.Sprint(len(body)))
		if r.Method != http.MethodHead {
			_, _ = w.Write(body)
		}
		return true
	}
}

// damage returns b with one bit changed in its middle.
func damage(b []byte) []byte {
	c := bytes.Clone(b)
	c[len(c)/2] ^= 1
	return c
}

// A registry that sends other bytes than those that were asked for, however
// plausible, is refused, and so is one that ends too early.
func TestRegistryThatLies(t *testing.T) {
	img := hello(t)
	img.Layers = append(img.Layers, imagetest.Files(t, map[string]string{"big": strings.Repeat("0123456789", 9999)}))
	manifest, last := imagetest.Digest(img.Manifest()), img.Layers[3]
	other := img
	other.Layers = img.Layers[:1] // a good image, and not the one that was asked for
	stored := imagetest.Plain(last.Archive)
	plain := img
	plain.Layers = append(append([]imagetest.Layer{}, img.Layers[:3]...), stored)
	for name, test := range map[string]struct {
		image     imagetest.Image
		reference string
		on        string
		fault     func(int64, http.ResponseWriter, *http.Request) bool
		kind      faas.Kind
		want      string
	}{
		"layer: wrong bytes, right size": {
			plain, ":latest", "/blobs/" + stored.Digest, answers(damage(stored.Packed)), faas.KindInvalid, "digest",
		},
		"compressed layer: wrong bytes, right size": {
			img, ":latest", "/blobs/" + last.Digest, answers(damage(last.Packed)), faas.KindInvalid, last.Digest,
		},
		"configuration: wrong bytes, right size": {
			img, ":latest", "/blobs/" + imagetest.Digest(img.ConfigFile()), answers(damage(img.ConfigFile())), faas.KindInvalid, "digest",
		},
		"manifest of a digest: wrong bytes": {
			img, "@" + manifest, "/manifests/", answers(damage(img.Manifest())), faas.KindInvalid, "wrong digest",
		},
		"manifest of a digest: another image's": {
			img, "@" + manifest, "/manifests/", answers(other.Manifest()), faas.KindInvalid, "wrong digest",
		},
		"layer: truncated, and honest about it": {
			img, ":latest", "/blobs/" + last.Digest, answers(last.Packed[:len(last.Packed)/2]), faas.KindInvalid, "which should have",
		},
		"layer: breaks off each time": {
			img, ":latest", "/blobs/" + last.Digest, func(_ int64, w http.ResponseWriter, _ *http.Request) bool {
				w.Header().Set("Content-Length", fmt.Sprint(len(last.Packed)))
				_, _ = w.Write(last.Packed[:len(last.Packed)/2])
				_ = http.NewResponseController(w).Flush()
				panic(http.ErrAbortHandler)
			}, faas.KindBusy, "broke off",
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := &faulty{on: test.on, fault: test.fault}
			reg := imagetest.Serve(t, f.wrap)
			reg.Push("lies:latest", test.image)
			p := newPlaceWith(t, image.Options{Registry: hasty})
			base := p.resolve(p.function("oci", imagetest.WriteLayout(t, hello(t))))
			p.refused(p.function("registry", reg.Host+"/lies"+test.reference), test.kind, reg.Host+"/lies", test.want)
			if f.count.Load() == 0 {
				t.Error("the registry was not asked for what it lies about")
			}
			p.checkHello(base)
			p.nothingLeft()
			// Afterwards an honest one is believed.
			f.fault = func(int64, http.ResponseWriter, *http.Request) bool { return false }
			p.has(p.resolve(p.function("registry", reg.Host+"/lies"+test.reference)), "app", "#!program")
		})
	}
}

// An archive of docker save is cut at each of many places.
func TestTruncatedArchive(t *testing.T) {
	img := hello(t)
	img.Layers = append(img.Layers, imagetest.Files(t, map[string]string{"big": strings.Repeat("0123456789", 9999)}))
	whole, err := os.ReadFile(imagetest.WriteArchive(t, img))
	if err != nil {
		t.Fatal(err)
	}
	p := newPlace(t)
	base := p.resolve(p.function("oci", imagetest.WriteLayout(t, hello(t))))
	// Without the two blocks of zeros at its end nothing is missing.
	end := len(bytes.TrimRight(whole, "\x00"))
	for cut := 0; cut < end; cut += max(1, end/40) {
		file := p.write("cut.tar", string(whole[:cut]), 0o600)
		p.refused(p.function("docker-archive", file), faas.KindInvalid, file)
		p.nothingLeft()
	}
	p.checkHello(base)
	p.has(p.resolve(p.function("docker-archive", p.write("whole.tar", string(whole), 0o600))), "big", strings.Repeat("0123456789", 9999))
}
