package control_test

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/unifaas/unifaas/internal/control"
	"github.com/unifaas/unifaas/internal/faas"
)

func (backend) Images(context.Context) ([]control.Image, error) {
	return []control.Image{{Source: "r/a:1", Digest: "sha256:1", Size: 3, Unique: 2, Functions: []string{"f"}}}, nil
}

func (backend) PullImage(_ context.Context, reference string) (control.Image, error) {
	if reference != "r/a b?:&1" {
		return control.Image{}, faas.Errorf(faas.KindNotFound, "no %s", reference)
	}
	return control.Image{Source: reference}, nil
}

func (backend) PruneImages(_ context.Context, all bool) (control.PrunedImages, error) {
	p := control.PrunedImages{Bytes: 5}
	if all {
		p.References = []string{"r/a:1"}
	}
	return p, nil
}

func TestImages(t *testing.T) {
	dir := t.TempDir()
	if control.NewClient(dir).Running(t.Context()) {
		t.Error("a platform is said to run where none does")
	}
	c, _ := serve(t, dir)
	if !c.Running(t.Context()) {
		t.Error("no platform is said to run")
	}
	list, err := c.Images(t.Context())
	want, _ := backend{}.Images(t.Context())
	if diff := cmp.Diff(want, list); err != nil || diff != "" {
		t.Error(err, diff)
	}
	if img, err := c.PullImage(t.Context(), "r/a b?:&1"); err != nil || img.Source != "r/a b?:&1" {
		t.Error(img, err)
	}
	if _, err := c.PullImage(t.Context(), "other"); faas.KindOf(err) != faas.KindNotFound {
		t.Error("another kind of error:", err)
	}
	for _, all := range []bool{true, false} {
		if p, err := c.PruneImages(t.Context(), all); err != nil || p.Bytes != 5 || (len(p.References) == 1) != all {
			t.Error(p, err)
		}
	}
}
