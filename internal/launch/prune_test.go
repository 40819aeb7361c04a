package launch_test

import (
	"context"
	"errors"
	"os"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/unifaas/unifaas/internal/faas"
	"github.com/unifaas/unifaas/internal/sandbox"
	"github.com/unifaas/unifaas/internal/sandbox/sandboxtest"
)

// keeper is a driver whose artifacts have files.
type keeper struct {
	*sandboxtest.Fake
	made   []*kept
	pruned []faas.Image // kept by the last Prune
}

type kept struct {
	sandbox.Artifact
	wanted int
	err    error
}

func (k *kept) Keep() error {
	k.wanted++
	return k.err
}

func (k *keeper) Prepare(ctx context.Context, rev *faas.Revision) (sandbox.Artifact, error) {
	a, err := k.Fake.Prepare(ctx, rev)
	k.made = append(k.made, &kept{Artifact: a})
	return k.made[len(k.made)-1], err
}

func (k *keeper) Prune(keep []faas.Image, _ time.Duration) error {
	k.pruned = keep
	return nil
}

// TestPruneKeepsWhatWasPrepared: also of a revision that is in no list, until it
// is forgotten; what was lost is made anew.
func TestPruneKeepsWhatWasPrepared(t *testing.T) {
	k := &keeper{Fake: sandboxtest.NewFake(sandboxtest.FakeOptions{})}
	l := newPlatform(t).launcher(t, k)
	rev := revision(nil)
	rev.Image.Digest = "sha256:mine"
	others := faas.Image{Digest: "sha256:other"}
	prune := func() error { return l.Prune([]faas.Image{others}, 0) }
	if err := errors.Join(l.Prepare(t.Context(), rev), prune()); err != nil {
		t.Fatal(err)
	}
	if len(k.made) != 1 || k.made[0].wanted != 1 || !slices.Contains(digests(k.pruned), "sha256:mine") || !slices.Contains(digests(k.pruned), "sha256:other") {
		t.Errorf("%d artifacts, pruned but for %q", len(k.made), digests(k.pruned))
	}
	k.made[0].err = os.ErrNotExist
	if err := prune(); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("files that are gone: got %v", err)
	}
	if err := errors.Join(l.Prepare(t.Context(), rev), prune()); err != nil || len(k.made) != 2 {
		t.Errorf("made %d times, %v, want a second time", len(k.made), err)
	}
	l.Keep(nil)
	if err := prune(); err != nil || !slices.Equal(digests(k.pruned), []string{"sha256:other"}) {
		t.Errorf("of a revision that is gone: pruned but for %q, %v", digests(k.pruned), err)
	}
}

// TestPruneOfWhatWasOnlyTried: a deployment that failed is nobody's after a while.
func TestPruneOfWhatWasOnlyTried(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := &keeper{Fake: sandboxtest.NewFake(sandboxtest.FakeOptions{})}
		l := newPlatform(t).launcher(t, k)
		rev := revision(nil)
		rev.Image.Digest = "sha256:tried"
		l.Keep(nil) // nothing is served
		for _, want := range []int{1, 0} {
			if want == 1 {
				if err := l.Prepare(t.Context(), rev); err != nil {
					t.Fatal(err)
				}
			}
			if err := l.Prune(nil, 0); err != nil || len(k.pruned) != want {
				t.Errorf("pruned but for %q, %v, want %d", digests(k.pruned), err, want)
			}
			time.Sleep(2 * time.Hour)
		}
		if k.made[0].wanted != 1 {
			t.Errorf("its files were wanted %d times, want once", k.made[0].wanted)
		}
	})
}

func digests(images []faas.Image) (all []string) {
	for _, img := range images {
		all = append(all, img.Digest)
	}
	return all
}
