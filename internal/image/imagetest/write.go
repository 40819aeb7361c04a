package imagetest

import (
	"archive/tar"
	"bytes"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"
)

// WriteLayout writes images as an OCI layout into a new folder and returns its
// path.
func WriteLayout(t testing.TB, images ...Image) string {
	t.Helper()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "oci-layout"), []byte(`{"imageLayoutVersion":"1.0.0"}`))
	write(t, filepath.Join(dir, "index.json"), Index(images...))
	for _, i := range images {
		write(t, blobPath(dir, Digest(i.Manifest())), i.Manifest())
		write(t, blobPath(dir, Digest(i.ConfigFile())), i.ConfigFile())
		for _, l := range i.Layers {
			write(t, blobPath(dir, l.Digest), l.Packed)
		}
	}
	return dir
}

func blobPath(dir, digest string) string {
	return filepath.Join(dir, "blobs", "sha256", strings.TrimPrefix(digest, "sha256:"))
}

func write(t testing.TB, name string, content []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

// WriteArchive writes an image as docker save does and returns the file's path.
func WriteArchive(t testing.TB, i Image) string {
	t.Helper()
	contents := map[string]string{"config.json": string(i.ConfigFile())}
	headers := []tar.Header{{Name: "config.json"}}
	var layers []string
	for n, l := range i.Layers {
		name := fmt.Sprintf("layer%d/layer.tar", n)
		layers = append(layers, name)
		contents[name] = string(l.Packed)
		headers = append(headers, tar.Header{Name: name})
	}
	contents["manifest.json"] = string(encode([]map[string]any{{"Config": "config.json", "RepoTags": []string{"test:1"}, "Layers": layers}}))
	headers = append(headers, tar.Header{Name: "manifest.json"})
	name := filepath.Join(t.TempDir(), "image.tar")
	write(t, name, Tar(t, contents, headers...))
	return name
}

// A Registry is a registry in this process, on loopback.
type Registry struct {
	Host string // host:port
	URL  string
	t    testing.TB
}

// Serve starts a registry behind wrap, which may be nil: there faults are put
// in. What is pushed does not pass through it.
func Serve(t testing.TB, wrap func(http.Handler) http.Handler) *Registry {
	t.Helper()
	inner := registry.New(registry.Logger(slog.NewLogLogger(slog.DiscardHandler, slog.LevelInfo)))
	handler := inner
	if wrap != nil {
		handler = wrap(inner)
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get(pushing) != "" {
			inner.ServeHTTP(w, r)
		} else {
			handler.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(server.CloseClientConnections) // those that stall
	t.Cleanup(server.Close)
	return &Registry{Host: strings.TrimPrefix(server.URL, "http://"), URL: server.URL, t: t}
}

const pushing = "X-Imagetest-Push"

// Push puts an image into the registry and returns its manifest's digest.
// repository may have a tag.
func (r *Registry) Push(repository string, i Image) string {
	r.t.Helper()
	repo, _ := splitTag(repository)
	r.blob(repo, Digest(i.ConfigFile()), i.ConfigFile())
	for _, l := range i.Layers {
		if Digest(l.Packed) == l.Digest { // the registry refuses others
			r.blob(repo, l.Digest, l.Packed)
		}
	}
	return r.manifest(repository, manifestType, i.Manifest())
}

// PushIndex puts an index of images into the registry.
func (r *Registry) PushIndex(repository string, images ...Image) string {
	r.t.Helper()
	repo, _ := splitTag(repository)
	for _, i := range images {
		r.Push(repo+":"+strings.TrimPrefix(Digest(i.Manifest()), "sha256:"), i)
	}
	return r.manifest(repository, indexType, Index(images...))
}

func splitTag(repository string) (repo, tag string) {
	repo, tag, ok := strings.Cut(repository, ":")
	if !ok {
		tag = "latest"
	}
	return repo, tag
}

func (r *Registry) blob(repo, digest string, content []byte) {
	r.do(http.MethodPost, "/v2/"+repo+"/blobs/uploads/?digest="+digest, "application/octet-stream", content)
}

func (r *Registry) manifest(repository, mediaType string, body []byte) string {
	repo, tag := splitTag(repository)
	r.do(http.MethodPut, "/v2/"+repo+"/manifests/"+tag, mediaType, body)
	return Digest(body)
}

func (r *Registry) do(method, path, mediaType string, body []byte) {
	r.t.Helper()
	req, err := http.NewRequestWithContext(r.t.Context(), method, r.URL+path, bytes.NewReader(body))
	if err != nil {
		r.t.Fatal(err)
	}
	req.Header.Set("Content-Type", mediaType)
	req.Header.Set(pushing, "1")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode >= 300 {
		r.t.Fatalf("%s %s: %s", method, path, resp.Status)
	}
}
