package tfs

import (
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"
)

// volume writes a volume whose log somebody has made up.
func volume(t *testing.T, fill func(*Builder, Folder) error) (*os.File, int64) {
	t.Helper()
	f, err := os.CreateTemp(t.TempDir(), "volume")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	b, top, err := NewBuilder(f, 0, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := fill(b, top); err != nil {
		t.Fatal(err)
	}
	size, err := b.Close()
	if err != nil {
		t.Fatal(err)
	}
	return f, size
}

// root is the number of the first tuple.
const root = 1

// TestDeepManifest has a tuple in a tuple, each in a record of its own, far deeper
// than a stack reaches.
func TestDeepManifest(t *testing.T) {
	f, size := volume(t, func(b *Builder, _ Folder) error {
		at := uint64(root)
		for range 1_000_000 {
			b.more(at, 1)
			b.name("a")
			at = b.open(0)
			if err := b.end(); err != nil {
				return err
			}
		}
		return nil
	})
	v, err := Open(f, size)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := v.Attributes(); err == nil || !strings.Contains(err.Error(), "nested more than 64 deep") {
		t.Errorf("got %.200v", err)
	}
}

// TestFoldersBeyondAnyPath has folders in folders, deeper than any path reaches.
func TestFoldersBeyondAnyPath(t *testing.T) {
	f, size := volume(t, func(b *Builder, at Folder) (err error) {
		for range 20_000 {
			if at, err = b.MakeFolder(at, "d"); err != nil {
				return err
			}
		}
		return nil
	})
	if _, err := Open(f, size); err == nil || !strings.Contains(err.Error(), "a path in it is longer than") {
		t.Errorf("got %.200v", err)
	}
}

// TestManyTuples has megabytes of tuples of a few bytes.
func TestManyTuples(t *testing.T) {
	f, size := volume(t, func(b *Builder, _ Folder) error {
		for range 1000 {
			b.more(root, 1)
			b.name("a")
			for range 4000 {
				b.open(1)
				b.name("a")
			}
			b.string("")
			b.values = 0 // the writer has the same bound
			if err := b.end(); err != nil {
				return err
			}
		}
		return nil
	})
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	_, err := Open(f, size)
	runtime.ReadMemStats(&after)
	if err == nil || !strings.Contains(err.Error(), "values") {
		t.Errorf("got %.200v", err)
	}
	if took := (after.TotalAlloc - before.TotalAlloc) >> 20; took > 768 {
		t.Errorf("%d MiB were allocated for it", took)
	}
}

// TestSharedExtents has thousands of files with the thousand extents of one.
func TestSharedExtents(t *testing.T) {
	const files, extents = 4000, 1000
	f, size := volume(t, func(b *Builder, top Folder) error {
		b.entry(top, "f")
		b.open(1)
		b.name(attrExtents)
		shared := b.open(0)
		if err := b.end(); err != nil {
			return err
		}
		batch := make([]extent, 0, extents)
		for i := range int64(extents) {
			batch = append(batch, extent{file: 8 * i, sector: 0, length: 1, allocated: 8})
		}
		if err := b.extents(shared, batch); err != nil {
			return err
		}
		for i := range files {
			b.entry(top, strconv.Itoa(i))
			b.open(1)
			b.name(attrExtents)
			b.more(shared, 0)
			if err := b.end(); err != nil {
				return err
			}
		}
		return nil
	})
	if _, err := Open(f, size); err == nil || !strings.Contains(err.Error(), "extents") {
		t.Errorf("got %.200v", err)
	}
}

// TestTooManyFiles is refused by the writer, since no reader would take it.
func TestTooManyFiles(t *testing.T) {
	f, err := os.CreateTemp(t.TempDir(), "volume")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b, top, err := NewBuilder(f, 0, Options{})
	if err != nil {
		t.Fatal(err)
	}
	for n := range maxValues {
		if _, err := b.MakeFolder(top, strconv.Itoa(n)); err != nil {
			if !strings.Contains(err.Error(), "more than") || n < 500_000 {
				t.Errorf("after %d folders: %v", n, err)
			}
			return
		}
	}
	t.Error("there was no end")
}
