package docker_test

import (
	"archive/tar"
	"bytes"
	"encoding/base64"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/unifaas/unifaas/internal/faas"
	"github.com/unifaas/unifaas/internal/sandbox/sandboxtest/dockertest"
)

// privateRegistry serves images to user "u" with password "p" only, and
// returns its host and port.
func privateRegistry(t *testing.T) string {
	t.Helper()
	images := registry.New(registry.Logger(slog.NewLogLogger(slog.DiscardHandler, slog.LevelInfo)))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user, password, ok := r.BasicAuth(); !ok || user != "u" || password != "p" {
			w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		images.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://")
}

// push puts an image of the guest into the registry. Its label makes it
// another image.
func push(t *testing.T, ref, label string) {
	t.Helper()
	program, err := os.ReadFile(filepath.Join(guest(t), "program"))
	if err != nil {
		t.Fatal(err)
	}
	var layer bytes.Buffer
	w := tar.NewWriter(&layer)
	if err := w.WriteHeader(&tar.Header{Name: "program", Mode: 0o755, Size: int64(len(program))}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(program); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	content, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(layer.Bytes())), nil })
	if err != nil {
		t.Fatal(err)
	}
	img, err := mutate.AppendLayers(empty.Image, content)
	if err != nil {
		t.Fatal(err)
	}
	img, err = mutate.ConfigFile(img, &v1.ConfigFile{
		OS: "linux", Architecture: "amd64", RootFS: v1.RootFS{Type: "layers", DiffIDs: diffIDs(t, content)},
		Config: v1.Config{
			Entrypoint: []string{"/program"}, Env: []string{"FROM_IMAGE=" + label}, User: "1234:2345",
			ExposedPorts: map[string]struct{}{"9000/tcp": {}, "8081": {}, "53/udp": {}}, Volumes: map[string]struct{}{"/data": {}},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := name.ParseReference(ref)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(parsed, img, remote.WithAuth(&authn.Basic{Username: "u", Password: "p"})); err != nil {
		t.Fatal(err)
	}
}

func diffIDs(t *testing.T, l v1.Layer) []v1.Hash {
	t.Helper()
	id, err := l.DiffID()
	if err != nil {
		t.Fatal(err)
	}
	return []v1.Hash{id}
}

// login writes Docker's configuration file.
func login(t *testing.T, host string) {
	t.Helper()
	dir := t.TempDir()
	auth := base64.StdEncoding.EncodeToString([]byte("u:p"))
	text := fmt.Sprintf(`{"auths":{%q:{"auth":%q}}}`, host, auth)
	if err := os.WriteFile(filepath.Join(dir, "config.json"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("DOCKER_CONFIG", dir)
}

func (p *platform) fromRegistry(ref string) *faas.Revision {
	return p.revision("", func(rev *faas.Revision) {
		rev.Function.Command = nil
		rev.Function.Image = faas.ImageSource{Scheme: "registry", Location: ref}
		rev.Function.Env = map[string]string{"OWN": "1"}
		rev.Image = faas.Image{Digest: digest(p, ref)}
	})
}

// bound returns rev bound to what its reference names in Docker's store now.
func (p *platform) bound(rev *faas.Revision) *faas.Revision {
	p.Helper()
	kept, err := p.driver.KeptImage(p.ctx(), rev.Function.Image.Location)
	if err != nil {
		p.Fatal(err)
	}
	to := *rev
	if to.Image.Kept = kept.Reference; kept.Reference == "" {
		to.Image.Kept = kept.ID
	}
	to.Digest = digest(p, to.Image)
	return &to
}

func TestRegistry(t *testing.T) {
	p := newPlatform(t, dockertest.Options{})
	host := privateRegistry(t)
	ref := host + "/functions/guest:1"
	push(t, ref, "first")
	rev := p.fromRegistry(ref)

	t.Setenv("DOCKER_CONFIG", t.TempDir())
	if _, err := p.driver.Prepare(p.ctx(), rev); faas.KindOf(err) == faas.KindInternal || !strings.Contains(fmt.Sprint(err), "docker login") {
		t.Errorf("Prepare without credentials: got %v", err)
	}
	login(t, host)
	p.prepare(rev)
	if kept, err := p.driver.KeptImage(p.ctx(), ref); err != nil || !strings.HasPrefix(kept.Reference, host+"/functions/guest@sha256:") || kept.Port != 8081 {
		t.Errorf("what Docker has: got %+v, %v", kept, err)
	}
	rev = p.bound(rev)
	art := p.prepare(rev)
	r := p.start(art, rev)
	info := r.get("/info")
	for _, want := range []string{"FROM_IMAGE=first", "OWN=1", "1234"} {
		if !strings.Contains(info, want) {
			t.Errorf("the function: got %s, want %s in it", info, want)
		}
	}
	if got := r.get("/write?path=/data/file&bytes=100000000"); !strings.Contains(got, "no space left") {
		t.Errorf("100 MB in a volume of the image's: got %s", got)
	}
	p.stop(r)

	// Somebody moves the tag, and somebody cleans up: the same image comes
	// back, by its digest.
	push(t, ref, "second")
	p.docker("system", "prune", "--all", "--force")
	if got := p.start(art, rev).get("/info"); !strings.Contains(got, "FROM_IMAGE=first") {
		t.Errorf("after the prune: got %s", got)
	}
	missing := p.fromRegistry(host + "/functions/missing:1")
	if _, err := p.driver.Prepare(p.ctx(), missing); faas.KindOf(err) == faas.KindInternal {
		t.Errorf("Prepare of a missing image: got %v", err)
	}
}
