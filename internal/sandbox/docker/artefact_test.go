package docker_test

import (
	"net/http"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/unifaas/unifaas/internal/faas"
	"github.com/unifaas/unifaas/internal/sandbox/sandboxtest/dockertest"
)

// image imports the artefact's kind of function as the image called name.
// version is what it answers.
func (p *platform) image(name, version string) {
	p.Helper()
	layer := filepath.Join(p.TempDir(), "layer.tar")
	if out, err := exec.Command("tar", "-C", build(p.T, "./testdata/artefact"), "-cf", layer, ".").CombinedOutput(); err != nil {
		p.Fatalf("tar: %v\n%s", err, out)
	}
	p.docker("import", "--change", `ENTRYPOINT ["/program"]`, "--change", "ENV VERSION="+version, layer, name)
	p.Cleanup(func() { p.docker("rmi", "--force", name) })
}

func (p *platform) artefact(image string) *faas.Revision {
	return p.revision("", func(rev *faas.Revision) {
		rev.Function = faas.Function{
			Ref: faas.NewRef("benchmark"), Form: faas.Artefact, Sandbox: "docker", Port: 8080,
			Image:     faas.ImageSource{Scheme: "registry", Location: image},
			Container: &faas.Container{Image: image},
			SingleUse: faas.StayIdle, Limits: faas.Limits{Memory: 64 << 20, CPUs: 1},
			Ready: faas.Ready{Kind: faas.ReadyCallback},
		}
		rev.Image = faas.Image{Digest: digest(p, image)}
	})
}

func TestArtefact(t *testing.T) {
	p := newPlatform(t, dockertest.Options{})
	p.image("artefact/benchmark", "one")
	rev := p.artefact("artefact/benchmark")
	art := p.prepare(rev)
	var wg sync.WaitGroup
	for range 5 {
		wg.Go(func() {
			r, err := p.launch(art, rev)
			if err != nil {
				t.Errorf("Start: %v", err)
				return
			}
			if err := r.Ready(p.ctx()); err != nil {
				t.Errorf("Ready: %v\noutput: %s", err, r.output)
			} else if got, err := get(p.ctx(), r, "/hello"); got != "one" {
				t.Errorf("got %q, %v", got, err)
			}
		})
	}
	wg.Wait()
	r := p.start(art, rev)
	r.get("/write") // its layer can be written to
	config := p.docker("inspect", "--format",
		"{{.HostConfig.NetworkMode}} {{.HostConfig.Memory}} {{.HostConfig.MemorySwap}} {{.HostConfig.CpusetCpus}} {{.HostConfig.ReadonlyRootfs}} {{.Args}}", r.ID())
	cpu := ""
	if runtime.NumCPU() > 1 {
		cpu = "1"
	}
	if want := "default 67108864 67108864 " + cpu + " false [http://172.17.0.1:3000/ready/" + r.ID() + "]"; config != want {
		t.Errorf("the container: got %q, want %q", config, want)
	}
}

// TestArtefactOfTwoPlatforms wants the second to receive callbacks, too.
func TestArtefactOfTwoPlatforms(t *testing.T) {
	one, two := newPlatform(t, dockertest.Options{}), newPlatform(t, dockertest.Options{})
	one.image("artefact/shared", "x")
	for _, p := range []*platform{one, two} {
		rev := p.artefact("artefact/shared")
		if got := p.start(p.prepare(rev), rev).get("/hello"); got != "x" {
			t.Errorf("got %q", got)
		}
	}
}

// TestArtefactIsRecovered has another run of the platform take over an
// instance that won't call again, and receive the calls of those that will.
func TestArtefactIsRecovered(t *testing.T) {
	p := newPlatform(t, dockertest.Options{})
	p.image("artefact/recovered", "x")
	rev := p.artefact("artefact/recovered")
	r := p.start(p.prepare(rev), rev)
	if err := p.driver.Close(); err != nil { // nobody receives callbacks any more
		t.Fatal(err)
	}
	url := p.docker("inspect", "--format", "{{index .Args 0}}", r.ID())
	if resp, err := http.Get(url); err == nil {
		_ = resp.Body.Close()
		t.Fatalf("somebody receives callbacks: %s", resp.Status)
	}
	taken, err := p.freshDriver().Recover(p.ctx(), *r.record)
	if err != nil {
		t.Fatalf("Recover: %v\noutput: %s", err, r.output)
	}
	defer p.stop(taken)
	if err := taken.Ready(p.ctx()); err != nil {
		t.Fatalf("Ready: %v\noutput: %s", err, r.output)
	}
	if got, err := get(p.ctx(), taken, "/hello"); got != "x" {
		t.Errorf("got %q, %v", got, err)
	}
	resp, err := http.Get(url)
	if err != nil {
		t.Fatalf("nobody receives callbacks: %v", err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusForbidden {
		t.Errorf("a callback from another address: got %s", resp.Status)
	}
}

// TestTagIsPinned moves a tag: a revision goes on with what it is bound to, also
// after the platform's restart, and one that is bound anew takes the new.
func TestTagIsPinned(t *testing.T) {
	p := newPlatform(t, dockertest.Options{})
	p.image("artefact/moving:1", "old")
	p.docker("tag", "artefact/moving:1", "artefact/kept:1") // or it would be gone with its tag
	defer p.docker("rmi", "--force", "artefact/kept:1")
	tag := p.artefact("artefact/moving:1")
	old := p.bound(tag)
	if again, err := p.driver.KeptImage(p.ctx(), "artefact/moving:1@"+old.Image.Kept); err != nil || again.ID != old.Image.Kept || again.Reference != "" {
		t.Errorf("by its ID: got %+v, %v", again, err)
	}
	p.prepare(old)
	p.image("artefact/moving:1", "new")
	wants := func(want string, rev *faas.Revision) {
		t.Helper()
		if got := p.start(p.prepare(rev), rev).get("/hello"); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	wants("old", old)
	p.driver = p.freshDriver()
	wants("old", old)
	wants("new", p.bound(tag))
	if _, err := p.driver.KeptImage(p.ctx(), "artefact/nowhere:1"); faas.KindOf(err) != faas.KindNotFound {
		t.Errorf("an image that is not there: got %v", err)
	}
}

func TestImageThatIsGone(t *testing.T) {
	p := newPlatform(t, dockertest.Options{})
	p.image("artefact/gone", "x")
	rev := p.bound(p.artefact("artefact/gone"))
	art := p.prepare(rev)
	p.docker("rmi", "--force", "artefact/gone")
	_, err := p.launch(art, rev)
	if faas.KindOf(err) != faas.KindUnavailable || !strings.Contains(err.Error(), "build it again") {
		t.Errorf("Start: got %v, want it unavailable, and the remedy", err)
	}
}
