package image_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/unifaas/unifaas/internal/catalog"
	"github.com/unifaas/unifaas/internal/faas"
	"github.com/unifaas/unifaas/internal/image"
	"github.com/unifaas/unifaas/internal/image/imagetest"
)

// A function follows a pull of its reference without a change of its own, and
// takes the port that its image exposes.
func TestCatalogFollowsAPull(t *testing.T) {
	reg := imagetest.Serve(t, nil)
	reg.Push("app", hello(t))
	p := newPlaceWith(t, image.Options{Registry: hasty})
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "f"), 0o755); err != nil {
		t.Fatal(err)
	}
	text := "image = \"" + reg.Host + "/app\"\n"
	if err := os.WriteFile(filepath.Join(dir, "f", catalog.FileName), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	folder, err := catalog.NewFolder(catalog.FolderOptions{Dir: dir, Sandboxes: faas.Sandboxes(), Inputs: p.store.Inputs})
	if err != nil {
		t.Fatal(err)
	}
	c := catalog.New(catalog.Options{Source: folder, Images: p.store})
	if err := c.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Stop)
	first, err := c.Lookup("f")
	if err != nil || first.Function.Port != 9000 {
		t.Fatal(first, err)
	}
	fresh := make(chan *faas.Revision, 100)
	c.Watch(func(s *catalog.Snapshot) {
		if rev, err := s.Lookup("f"); err == nil && rev.Digest != first.Digest {
			fresh <- rev
		}
	})
	other := hello(t)
	other.Config.ExposedPorts = nil
	reg.Push("app", other)
	if _, err := p.store.Pull(t.Context(), reg.Host+"/app"); err != nil {
		t.Fatal(err)
	}
	select {
	case rev := <-fresh:
		if rev.Function.Port != 8080 {
			t.Error("port", rev.Function.Port)
		}
		if rev.Image.Rootfs != first.Image.Rootfs {
			t.Error("the same files are there twice")
		}
	case <-t.Context().Done():
	}
}
