package docker_test

import (
	"strings"
	"testing"
	"time"

	"github.com/unifaas/unifaas/internal/faas"
	"github.com/unifaas/unifaas/internal/sandbox/sandboxtest/dockertest"
)

// TestPrune removes images of ours that nobody needs, and nobody else's.
func TestPrune(t *testing.T) {
	p, other := newPlatform(t, dockertest.Options{}), newPlatform(t, dockertest.Options{})
	kept, gone := p.revision(guest(t)), p.revision(guest(t))
	foreign := other.revision(guest(t))
	art := p.prepare(kept)
	p.prepare(gone)
	other.prepare(foreign)
	prune := func(keep []faas.Image, grace time.Duration) {
		t.Helper()
		if err := p.driver.Prune(keep, grace); err != nil {
			t.Fatal(err)
		}
	}
	wants := func(p *platform, rev *faas.Revision, want bool) {
		t.Helper()
		ref := "unifaas/" + p.host.Node + ":" + strings.TrimPrefix(rev.Image.Digest, "sha256:")
		if got := p.docker("images", "--quiet", ref) != ""; got != want {
			t.Errorf("image %s is there: %v, want %v", ref, got, want)
		}
	}
	prune(nil, time.Hour)
	wants(p, gone, true)
	r := p.start(art, kept)
	prune(nil, 0) // one that is in use stays, too
	wants(p, gone, false)
	wants(p, kept, true)
	p.stop(r)
	prune([]faas.Image{kept.Image}, 0)
	wants(p, kept, true)
	wants(other, foreign, true)
	if err := other.driver.Prune(nil, 0); err != nil {
		t.Fatal(err)
	}
	prune(nil, 0)
	wants(p, kept, false)
	// It comes back when it is wanted.
	p.stop(p.start(art, kept))
	prune(nil, 0)
}
