package gvisor

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/unifaas/unifaas/internal/faas"
)

func TestImagesNobodyWantsArePruned(t *testing.T) {
	s := imageStore{dir: t.TempDir()}
	images := map[string]faas.Image{}
	for _, name := range []string{"current", "wanted-again", "recent", "stale"} {
		img := faas.Image{Digest: "sha256:" + name, Rootfs: t.TempDir()}
		images[name] = img
		path, err := s.ensure(t.Context(), img)
		if err != nil {
			t.Fatal(err)
		}
		if name != "recent" {
			old := time.Now().Add(-2 * time.Hour)
			if err := os.Chtimes(path, old, old); err != nil {
				t.Fatal(err)
			}
		}
	}
	if _, err := s.ensure(t.Context(), images["wanted-again"]); err != nil {
		t.Fatal(err)
	}
	if err := s.prune([]faas.Image{images["current"]}, time.Hour); err != nil {
		t.Fatal(err)
	}
	for name, img := range images {
		_, err := os.Stat(s.path(img.Digest))
		if gone := os.IsNotExist(err); gone != (name == "stale") {
			t.Errorf("%s: gone is %v (%v)", name, gone, err)
		}
	}
}

func TestProbesThatWereCutOffAreSwept(t *testing.T) {
	run := t.TempDir()
	left := filepath.Join(run, strings.Replace(probeDirs, "*", "123", 1))
	if err := os.MkdirAll(filepath.Join(left, "rootfs"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := sweepProbes(run); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(left); !os.IsNotExist(err) {
		t.Errorf("a probe's folder is still there: %v", err)
	}
}
