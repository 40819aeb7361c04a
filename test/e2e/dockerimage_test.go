package e2e

import (
	"fmt"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/unifaas/unifaas/internal/control"
	"github.com/unifaas/unifaas/internal/sandbox/sandboxtest/guest"
)

// A movingTag is a tag in a registry on loopback.
type movingTag struct {
	reference string
	server    *httptest.Server
}

func newMovingTag(t *testing.T) *movingTag {
	t.Helper()
	server := httptest.NewServer(registry.New())
	t.Cleanup(server.Close)
	u, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	return &movingTag{u.Host + "/team/hello:stable", server}
}

// push has the tag name an image of the function under test, as edit wants it.
func (m *movingTag) push(t *testing.T, version string, edit ...func(*v1.Config)) {
	t.Helper()
	img := programImage(t, version)
	config, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	config = config.DeepCopy()
	for _, e := range edit {
		e(&config.Config)
	}
	if img, err = mutate.ConfigFile(img, config); err != nil {
		t.Fatal(err)
	}
	ref, err := name.ParseReference(m.reference)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(ref, img); err != nil {
		t.Fatal(err)
	}
}

// TestATagIsPinnedInDocker: with a store of images of its own, Docker's, a tag
// that moves changes nothing either, until somebody deploys or pulls; and then
// it does, although Docker has an image of that name.
func TestATagIsPinnedInDocker(t *testing.T) {
	p, daemon := newDockerPlatform(t)
	tag := newMovingTag(t)
	p.start(t)
	tag.push(t, "1")
	wants := func(function, version string) {
		t.Helper()
		if got := p.want(t, function, "/version"); got != version {
			t.Errorf("%s: version %s answers, want %s", function, got, version)
		}
	}
	pull := func() {
		t.Helper()
		if _, err := daemon.Docker(t.Context(), "pull", tag.reference); err != nil {
			t.Fatal(err)
		}
	}
	pull() // Docker's own copy, which is to grow old
	p.send(t, tag.reference, "--sandbox", "docker")
	p.write(t, "folder", fmt.Sprintf("sandbox = \"docker\"\nimage = %q\n", tag.reference))
	p.awaitFunction(t, "folder", "to be served", func(f control.Function) bool { return f.Revision != "" })
	wants("hello", "1")
	wants("folder", "1")

	tag.push(t, "2")
	p.stop(t)
	p.start(t)
	wants("hello", "1")
	wants("folder", "1")
	if out := p.send(t, tag.reference, "--sandbox", "docker"); out.Unchanged {
		t.Errorf("deployed again: %+v", out)
	}
	wants("hello", "2")
	wants("folder", "1")

	old := p.list(t)["folder"].Revision
	if _, errs, code := p.cli(t, "image", "pull", tag.reference); code != 0 {
		t.Fatalf("image pull: %d: %s", code, errs)
	}
	p.awaitFunction(t, "folder", "to follow the pull", func(f control.Function) bool { return f.Revision != old })
	wants("folder", "2")

	tag.server.Close()
	if _, errs, code := p.cli(t, "rollback", "hello"); code != 0 {
		t.Fatalf("rollback without the registry: %d: %s", code, errs)
	}
	wants("hello", "1")
	p.stop(t)
}

// TestABuildIsPinnedInDocker is the same for an image that was only built in
// Docker's store, as the paper's artefact has them.
func TestABuildIsPinnedInDocker(t *testing.T) {
	p, daemon := newDockerPlatform(t)
	p.start(t)
	build := func(version string) {
		t.Helper()
		file := filepath.Join(t.TempDir(), "layer.tar")
		dir, program := filepath.Split(binariesOf(t).function)
		if out, err := exec.Command("tar", "-C", dir, "-cf", file, program).CombinedOutput(); err != nil {
			t.Fatalf("tar: %v\n%s", err, out)
		}
		if _, err := daemon.Docker(t.Context(), "import", "--change", `ENTRYPOINT ["/`+program+`"]`, "--change", "ENV VERSION="+version, file, "faas:built"); err != nil {
			t.Fatal(err)
		}
	}
	build("1")
	p.send(t, "faas:built", "--sandbox", "docker", "--name", "built")
	build("2")
	if got := p.want(t, "built", "/version"); got != "1" {
		t.Errorf("after a new build version %s answers", got)
	}
	if out := p.send(t, "faas:built", "--sandbox", "docker", "--name", "built"); out.Unchanged || p.want(t, "built", "/version") != "2" {
		t.Errorf("deployed again: %+v", out)
	}
	p.stop(t)
}

// TestImageOfDockerIsHonoured: the port that a registry's image exposes, and
// files of the function's in it.
func TestImageOfDockerIsHonoured(t *testing.T) {
	p, _ := newDockerPlatform(t)
	tag := newMovingTag(t)
	tag.push(t, "1", func(c *v1.Config) {
		c.ExposedPorts = map[string]struct{}{"80/tcp": {}}
		c.Env = append(c.Env, guest.PortEnv+"=80")
	})
	p.start(t)
	p.send(t, tag.reference, "--sandbox", "docker")
	if got := p.want(t, "hello", "/version"); got != "1" {
		t.Errorf("got %q", got)
	}
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "function.toml"),
		fmt.Sprintf("sandbox = \"docker\"\nimage = %q\n[files]\n\"/etc/own\" = \"./own\"\n", tag.reference))
	writeFile(t, filepath.Join(dir, "own"), "mine")
	if err := os.Chmod(filepath.Join(dir, "own"), 0o644); err != nil {
		t.Fatal(err)
	}
	p.send(t, dir, "--name", "files")
	if got := p.want(t, "files", "/file?path=/etc/own"); !strings.Contains(got, "mine") {
		t.Errorf("the function's file: got %q", got)
	}
	p.stop(t)
}
