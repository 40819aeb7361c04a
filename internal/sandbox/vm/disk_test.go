package vm

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestSparesOfFormerDisksGo has copies of two disks, of which one is still wanted.
func TestSparesOfFormerDisksGo(t *testing.T) {
	dir := t.TempDir()
	served, former := filepath.Join(dir, "served"), filepath.Join(dir, "former")
	if err := errors.Join(os.WriteFile(served, []byte("new"), 0o600), os.WriteFile(former, []byte("old"), 0o600)); err != nil {
		t.Fatal(err)
	}
	room := newSpareRoom(filepath.Join(dir, "copies"))
	t.Cleanup(func() { _ = room.close() })
	for _, source := range []string{served, former} {
		room.want(source)
	}
	room.makers.Wait()
	room.mu.Lock()
	room.wanted[former] = time.Now().Add(-2 * time.Hour)
	room.mu.Unlock()
	if n := copies(t, room); n != 2*sparesAhead {
		t.Fatalf("%d copies, want %d", n, 2*sparesAhead)
	}
	for _, grace := range []time.Duration{time.Hour, 0} {
		if err := room.prune(grace); err != nil {
			t.Fatal(err)
		}
		if n := copies(t, room); n != sparesAhead {
			t.Errorf("grace %v: %d copies are left, want %d", grace, n, sparesAhead)
		}
	}
	path, err := room.take(t.Context(), former, "one.0", os.Geteuid())
	if err != nil {
		t.Fatal(err)
	}
	if content, err := os.ReadFile(path); string(content) != "old" {
		t.Errorf("a disk that is wanted again: %q, %v", content, err)
	}
}

func copies(t *testing.T, r *spareRoom) int {
	t.Helper()
	entries, err := os.ReadDir(r.dir)
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}
