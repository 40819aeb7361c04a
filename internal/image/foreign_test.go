package image_test

import (
	"context"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/unifaas/unifaas/internal/faas"
	"github.com/unifaas/unifaas/internal/image"
	"github.com/unifaas/unifaas/internal/image/imagetest"
)

// keeper is a sandbox's own store, by reference.
type keeper map[string]faas.Kept

func (k keeper) get(_ context.Context, _, reference string) (faas.Kept, error) {
	if kept, ok := k[reference]; ok {
		return kept, nil
	}
	for _, kept := range k { // by its ID
		if strings.HasSuffix(reference, "@"+kept.ID) {
			return kept, nil
		}
	}
	return faas.Kept{}, faas.Errorf(faas.KindNotFound, "no image %q", reference)
}

func (p *place) docker(location string) *faas.Function {
	fn := p.function("registry", location)
	fn.Sandbox = "docker"
	return fn
}

// bind is resolve for an image that is not in the store.
func (p *place) bind(fn *faas.Function) faas.Image {
	p.t.Helper()
	img, err := p.store.Resolve(p.t.Context(), fn)
	if err != nil {
		p.t.Fatal(err)
	}
	return img
}

// A registry's image of a sandbox with images of its own is pinned as others
// are: a tag that moves changes nothing until somebody deploys or pulls.
func TestKeptImageOfARegistry(t *testing.T) {
	var down atomic.Bool
	f := &faulty{on: "/", fault: func(_ int64, w http.ResponseWriter, _ *http.Request) bool {
		return down.Load() && status(500)(0, w, nil)
	}}
	reg := imagetest.Serve(t, f.wrap)
	img := hello(t)
	img.Config.ExposedPorts = map[string]struct{}{"80/tcp": {}}
	first := reg.Push("app:v1", img)
	have := keeper{}
	opts := image.Options{Registry: hasty, Keeper: have.get}
	p := newPlaceWith(t, opts)
	fn := p.docker(reg.Host + "/app:v1")
	old := p.bind(fn)
	if old.Rootfs != "" || old.Kept != reg.Host+"/app@"+first || old.Config.Port != 80 {
		t.Errorf("bound to %+v", old)
	}
	pin := p.store.Inputs(fn)[0]
	before, err := os.Stat(pin)
	if err != nil {
		t.Fatal(err)
	}
	// The sandbox has the old one under the tag, as Docker does after a pull.
	have[fn.Image.Location] = faas.Kept{ID: "sha256:" + strings.Repeat("1", 64), Reference: old.Kept}
	img.Layers = append(img.Layers, imagetest.Files(t, map[string]string{"new": "n"}))
	second := reg.Push("app:v1", img)
	p.open(opts) // a restart
	if now := p.bind(fn); now.Digest != old.Digest {
		t.Errorf("the moved tag changed the image to %+v", now)
	}

	current, err := p.store.Current(t.Context(), fn)
	if err != nil || current != reg.Host+"/app@"+second {
		t.Errorf("a deploy has %q, %v", current, err)
	}
	deployed := p.bind(p.docker(current))
	if deployed.Kept != current || deployed.Digest == old.Digest || deployed.Config.Port != 80 {
		t.Errorf("the deployed is bound to %+v", deployed)
	}
	if now := p.bind(fn); now.Digest != old.Digest {
		t.Errorf("another's deploy changed the image to %+v", now)
	}
	listed, err := p.store.Pull(t.Context(), fn.Image.Location)
	if err != nil || listed.Digest != second {
		t.Errorf("pulled %+v, %v", listed, err)
	}
	if after, err := os.Stat(pin); err != nil || os.SameFile(before, after) {
		t.Error("the pin does not tell of the change", err)
	}
	if now := p.bind(fn); now.Digest != deployed.Digest {
		t.Errorf("after the pull it is bound to %+v", now)
	}
	down.Store(true)
	if _, err := p.store.Current(t.Context(), fn); faas.KindOf(err) != faas.KindBusy {
		t.Errorf("a deploy without the registry: %v", err)
	}
}

// What was only built in the sandbox's store has no other name than its ID.
func TestKeptImageOfNoRegistry(t *testing.T) {
	reg := imagetest.Serve(t, nil)
	location := reg.Host + "/built:dev"
	id, next := "sha256:"+strings.Repeat("a", 64), "sha256:"+strings.Repeat("b", 64)
	have := keeper{location: {ID: id, Port: 8081}}
	opts := image.Options{Registry: hasty, Keeper: have.get}
	p := newPlaceWith(t, opts)
	fn := p.docker(location)
	old := p.bind(fn)
	if old.Kept != id || old.Config.Port != 8081 {
		t.Errorf("bound to %+v", old)
	}
	have[location] = faas.Kept{ID: next}
	if now := p.bind(fn); now.Digest != old.Digest {
		t.Errorf("a new build changed the image to %+v", now)
	}
	current, err := p.store.Current(t.Context(), fn)
	if err != nil || !strings.HasSuffix(current, "/built@"+next) {
		t.Errorf("a deploy has %q, %v", current, err)
	}
	if deployed := p.bind(p.docker(current)); deployed.Kept != next || deployed.Digest == old.Digest {
		t.Errorf("the deployed is bound to %+v", deployed)
	}
	// Some stores name a registry for whatever they hold.
	have[location] = faas.Kept{ID: id, Reference: reg.Host + "/built@" + id}
	if current, err := p.store.Current(t.Context(), fn); err != nil || !strings.HasSuffix(current, "/built@"+id) {
		t.Errorf("a deploy of what the registry has not: %q, %v", current, err)
	}
}

func TestKeptImageThatIsNowhere(t *testing.T) {
	reg := imagetest.Serve(t, nil)
	p := newPlaceWith(t, image.Options{Registry: hasty, Keeper: keeper{}.get})
	p.refused(p.docker(reg.Host+"/nowhere:1"), faas.KindNotFound, "has no manifest 1")
	away := faas.Errorf(faas.KindUnavailable, "Docker is away; start dockerd")
	p.open(image.Options{Registry: hasty, Keeper: func(context.Context, string, string) (faas.Kept, error) { return faas.Kept{}, away }})
	p.refused(p.docker(reg.Host+"/nowhere:1"), faas.KindBusy, "start dockerd")
}

// With files of the function's in it, an image is ours.
func TestFilesInAKeptImage(t *testing.T) {
	reg := imagetest.Serve(t, nil)
	reg.Push("app:v1", hello(t))
	p := newPlaceWith(t, image.Options{Registry: hasty, Keeper: keeper{}.get})
	fn := p.docker(reg.Host + "/app:v1")
	fn.Files = map[string]string{"/etc/own": p.write("own", "mine", 0o600)}
	p.has(p.resolve(fn), "etc/own", "mine")
}

func TestPinsOfKeptImagesArePruned(t *testing.T) {
	have := keeper{"built:a": {ID: "sha256:" + strings.Repeat("a", 64)}, "built:b": {ID: "sha256:" + strings.Repeat("b", 64)}}
	p := newPlaceWith(t, image.Options{Registry: hasty, Keeper: have.get})
	kept, gone := p.bind(p.docker("built:a")), p.docker("built:b")
	p.bind(gone)
	if _, err := p.store.Prune(t.Context(), []faas.Image{kept}, 0); err != nil {
		t.Fatal(err)
	}
	for fn, want := range map[*faas.Function]bool{p.docker("built:a"): true, gone: false} {
		if _, err := os.Stat(p.store.Inputs(fn)[0]); (err == nil) != want {
			t.Errorf("pin of %s: %v, want it to be there: %v", fn.Image, err, want)
		}
	}
}
