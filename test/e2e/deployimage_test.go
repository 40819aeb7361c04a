package e2e

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/unifaas/unifaas/internal/deploy"
)

// programImage is an image of the function under test.
func programImage(t *testing.T, version string) v1.Image {
	t.Helper()
	program, err := os.ReadFile(binariesOf(t).function)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "program", Mode: 0o755, Size: int64(len(program))}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(program); err != nil {
		t.Fatal(err)
	}
	// So that two versions have two root file systems.
	if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "version-" + version, Mode: 0o644}); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b.Bytes())), nil })
	if err != nil {
		t.Fatal(err)
	}
	img, err := mutate.AppendLayers(empty.Image, layer)
	if err != nil {
		t.Fatal(err)
	}
	config, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	config = config.DeepCopy()
	config.OS, config.Architecture = "linux", runtime.GOARCH
	config.Config.Entrypoint, config.Config.Env = []string{"/program"}, []string{"VERSION=" + version}
	if img, err = mutate.ConfigFile(img, config); err != nil {
		t.Fatal(err)
	}
	return img
}

// A localRegistry is a registry in this process, on loopback.
type localRegistry struct {
	*httptest.Server
	host string // host:port
}

func newRegistry(t *testing.T) *localRegistry {
	t.Helper()
	server := httptest.NewServer(registry.New(registry.Logger(slog.NewLogLogger(slog.DiscardHandler, slog.LevelInfo))))
	t.Cleanup(server.Close)
	return &localRegistry{server, strings.TrimPrefix(server.URL, "http://")}
}

// push puts an image into the registry under a name with a tag, and returns
// the whole reference.
func (r *localRegistry) push(t *testing.T, repository string, img v1.Image) (reference string) {
	t.Helper()
	reference = r.host + "/" + repository
	ref, err := name.ParseReference(reference)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(ref, img); err != nil {
		t.Fatal(err)
	}
	return reference
}

// TestATagIsPinnedByItsDeploy: a tag that moves changes nothing until the next
// deploy, across a restart and without the registry.
func TestATagIsPinnedByItsDeploy(t *testing.T) {
	server := newRegistry(t)
	reference := ""
	push := func(version string) { reference = server.push(t, "team/hello:stable", programImage(t, version)) }
	p := newPlatform(t)
	p.start(t)
	push("1")
	out := p.send(t, reference)
	if out.Function != "hello" || p.want(t, "hello", "/version") != "1" {
		t.Fatalf("deployed %+v", out)
	}
	if image := p.describe(t, "hello").Config.Image.Location; !strings.HasPrefix(image, server.host+"/team/hello@sha256:") {
		t.Errorf("the image is %q, want it pinned", image)
	}
	push("2")
	p.stop(t)
	p.start(t)
	if got := p.want(t, "hello", "/version"); got != "1" {
		t.Errorf("the tag has moved, and version %s answers", got)
	}
	if out := p.send(t, reference); out.Unchanged || p.want(t, "hello", "/version") != "2" {
		t.Errorf("deployed again: %+v", out)
	}
	server.Close()
	if out := cliJSON[deploy.Outcome](t, p, "rollback", "hello"); p.want(t, "hello", "/version") != "1" {
		t.Errorf("rolled back without the registry: %+v", out)
	}
	if _, errs, code := p.cli(t, "deploy", reference); code == 0 || !strings.Contains(errs, reference) {
		t.Errorf("a deploy without the registry ended with %d: %s", code, errs)
	}
	p.stop(t)
}

func TestLocalImagesAreDeployed(t *testing.T) {
	p := commonPlatform(t)
	img := programImage(t, "local")
	dir := filepath.Join(t.TempDir(), "layout")
	path, err := layout.Write(dir, empty.Index)
	if err != nil {
		t.Fatal(err)
	}
	if err := path.AppendImage(img); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "saved.tar")
	tag, err := name.NewTag("example.org/saved:latest")
	if err != nil {
		t.Fatal(err)
	}
	if err := tarball.WriteToFile(file, tag, img); err != nil {
		t.Fatal(err)
	}
	for i, source := range []string{"oci:" + dir, "docker-archive:" + file} {
		name := fmt.Sprint("local-", i)
		p.send(t, source, "--name", name)
		p.undeploy(t, name)
		if got := p.want(t, name, "/version"); got != "local" {
			t.Errorf("%s: version %q answers", source, got)
		}
	}
}
