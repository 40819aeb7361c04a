// Package imagetest makes images for tests, good and bad ones, and writes them
// as an OCI layout, as docker save does, or into a registry.
package imagetest

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"runtime"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// A Layer is one layer: the archive and how it is transferred.
type Layer struct {
	Archive []byte
	Packed  []byte
	// DiffID and Digest are "sha256:..." of the two; a test may say others.
	DiffID, Digest string
}

// Tar returns an archive with the given headers. The content of a regular
// file comes from contents, by its name; its size is set by it.
func Tar(t testing.TB, contents map[string]string, headers ...tar.Header) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range headers {
		content := contents[h.Name]
		if h.Typeflag == 0 {
			h.Typeflag = tar.TypeReg
		}
		if h.Typeflag == tar.TypeReg {
			h.Size = int64(len(content))
		}
		if h.Mode == 0 {
			h.Mode = map[byte]int64{tar.TypeDir: 0o755}[h.Typeflag]
			if h.Mode == 0 {
				h.Mode = 0o644
			}
		}
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(content)); err != nil && h.Typeflag == tar.TypeReg {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// Files returns a layer, compressed by gzip, with regular files, mode 0755.
func Files(t testing.TB, contents map[string]string) Layer {
	t.Helper()
	var headers []tar.Header
	for name := range contents {
		headers = append(headers, tar.Header{Name: name, Mode: 0o755})
	}
	return Gzip(t, Tar(t, contents, headers...))
}

// Gzip returns a layer compressed by gzip.
func Gzip(t testing.TB, archive []byte) Layer {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write(archive); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return layer(archive, b.Bytes())
}

// Zstd returns a layer compressed by Zstandard.
func Zstd(t testing.TB, archive []byte) Layer {
	t.Helper()
	w, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	return layer(archive, w.EncodeAll(archive, nil))
}

// Plain returns a layer that is not compressed.
func Plain(archive []byte) Layer { return layer(archive, archive) }

func layer(archive, packed []byte) Layer {
	return Layer{archive, packed, Digest(archive), Digest(packed)}
}

// Digest returns "sha256:..." of b.
func Digest(b []byte) string {
	sum := sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// Config is the part of an image's configuration about running it.
type Config struct {
	Entrypoint   []string            `json:",omitempty"`
	Cmd          []string            `json:",omitempty"`
	Env          []string            `json:",omitempty"`
	User         string              `json:",omitempty"`
	WorkingDir   string              `json:",omitempty"`
	ExposedPorts map[string]struct{} `json:",omitempty"`
}

// An Image is one image for one platform.
type Image struct {
	Layers []Layer
	Config Config
	OS     string // default "linux"
	Arch   string // default: this machine's
}

func (i Image) os() string {
	if i.OS == "" {
		return "linux"
	}
	return i.OS
}

func (i Image) arch() string {
	if i.Arch == "" {
		return runtime.GOARCH
	}
	return i.Arch
}

// ConfigFile returns the image's configuration as text.
func (i Image) ConfigFile() []byte {
	diffIDs := []string{}
	for _, l := range i.Layers {
		diffIDs = append(diffIDs, l.DiffID)
	}
	return encode(map[string]any{
		"os": i.os(), "architecture": i.arch(), "config": i.Config,
		"rootfs": map[string]any{"type": "layers", "diff_ids": diffIDs},
	})
}

const (
	manifestType = "application/vnd.oci.image.manifest.v1+json"
	indexType    = "application/vnd.oci.image.index.v1+json"
)

type descriptor struct {
	MediaType string         `json:"mediaType"`
	Digest    string         `json:"digest"`
	Size      int            `json:"size"`
	Platform  map[string]any `json:"platform,omitempty"`
}

// Manifest returns the image's manifest as text.
func (i Image) Manifest() []byte {
	config := i.ConfigFile()
	layers := []descriptor{}
	for _, l := range i.Layers {
		layers = append(layers, descriptor{MediaType: "application/vnd.oci.image.layer.v1.tar+gzip", Digest: l.Digest, Size: len(l.Packed)})
	}
	return encode(map[string]any{
		"schemaVersion": 2, "mediaType": manifestType, "layers": layers,
		"config": descriptor{MediaType: "application/vnd.oci.image.config.v1+json", Digest: Digest(config), Size: len(config)},
	})
}

// Index returns an index of images as text.
func Index(images ...Image) []byte {
	var manifests []descriptor
	for _, i := range images {
		m := i.Manifest()
		manifests = append(manifests, descriptor{
			MediaType: manifestType, Digest: Digest(m), Size: len(m),
			Platform: map[string]any{"os": i.os(), "architecture": i.arch()},
		})
	}
	return encode(map[string]any{"schemaVersion": 2, "mediaType": indexType, "manifests": manifests})
}

func encode(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // strings and numbers only: it can't fail
	}
	return b
}
