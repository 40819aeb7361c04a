package cas_test

import (
	"crypto/rand"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/unifaas/unifaas/internal/faas"
	"github.com/unifaas/unifaas/internal/image/tree"
)

// smallDisk is a folder on a file system of its own of the given size.
func smallDisk(t *testing.T, options string) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, options); err != nil {
		t.Skip("mounting a tmpfs needs root: ", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	return dir
}

func TestFullDiskLeavesTheStoreIntact(t *testing.T) {
	for name, options := range map[string]string{"bytes": "size=1m", "inodes": "size=64m,nr_inodes=40"} {
		t.Run(name, func(t *testing.T) {
			b, s := newBag(), open(t, smallDisk(t, options))
			good := commit(t, s, sample(t, b), b)
			big := tree.New()
			for _, p := range []string{"/1", "/2", "/3", "/4", "/5", "/6", "/7", "/8", "/9", "/a", "/b", "/c"} {
				if _, err := big.Put(p+"/f", b.file(p+strings.Repeat(rand.Text(), 4000))); err != nil {
					t.Fatal(err)
				}
			}
			_, err := s.Commit(t.Context(), big, b.open, nil)
			if faas.KindOf(err) != faas.KindBusy || !strings.Contains(err.Error(), "no space left for the image store") {
				t.Error("got", err)
			}
			if n := count(t, s, "tmp"); n != 0 {
				t.Errorf("%d files are left in tmp", n)
			}
			if err := s.Verify(t.Context(), good); err != nil {
				t.Error(err)
			}
			commit(t, open(t, s.Dir()), sample(t, b), b)
			if _, ok := s.Rootfs(big.Digest()); ok {
				t.Error("a torn tree is visible")
			}
		})
	}
}

// Where the file system refuses more hard links, files are copied.
func TestMoreLinksThanTheFileSystemAllows(t *testing.T) {
	if testing.Short() {
		t.Skip("makes 66,000 names")
	}
	b, s := newBag(), open(t, t.TempDir())
	commit(t, s, sample(t, b), b)
	n := b.file("text")
	tr := tree.New()
	for range 66_000 {
		if _, err := tr.Put("/d/"+rand.Text(), n); err != nil {
			t.Fatal(err)
		}
	}
	digest := commit(t, s, tr, b)
	root, _ := s.Rootfs(digest)
	entries, err := os.ReadDir(root + "/d")
	if err != nil || len(entries) != 66_000 {
		t.Errorf("%d entries, %v", len(entries), err)
	}
}
