package vm

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/unifaas/unifaas/internal/guest/made"
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
	for _, disk := range []string{served, former} {
		room.want(disk)
	}
	room.makers.Wait()
	if err := made.Want(served); err != nil { // as Keep does
		t.Fatal(err)
	}
	room.want(served)
	room.makers.Wait()
	s, err := sourceOf(former)
	if err != nil {
		t.Fatal(err)
	}
	room.mu.Lock()
	room.all[s].wanted = time.Now().Add(-2 * time.Hour)
	room.mu.Unlock()
	if n := count(t, room); n != 2*sparesAhead {
		t.Fatalf("%d copies, want %d", n, 2*sparesAhead)
	}
	for _, grace := range []time.Duration{time.Hour, 0} {
		if err := room.prune(grace); err != nil {
			t.Fatal(err)
		}
		if n := count(t, room); n != sparesAhead {
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

// TestSparesOfAReplacedDisk: nobody gets what the disk was before.
func TestSparesOfAReplacedDisk(t *testing.T) {
	dir := t.TempDir()
	disk := filepath.Join(dir, "disk")
	room := newSpareRoom(filepath.Join(dir, "copies"))
	t.Cleanup(func() { _ = room.close() })
	for n, content := range []string{"first", "other"} {
		next := filepath.Join(dir, "next")
		if err := errors.Join(os.WriteFile(next, []byte(content), 0o600), os.Rename(next, disk)); err != nil {
			t.Fatal(err)
		}
		path, err := room.take(t.Context(), disk, diskName("one", n), os.Geteuid())
		if err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(path); string(got) != content {
			t.Errorf("got %q, %v, want %q", got, err, content)
		}
		room.makers.Wait() // spares of this one are there
	}
	if err := os.Remove(disk); err != nil {
		t.Fatal(err)
	}
	if _, err := room.take(t.Context(), disk, "two.0", os.Geteuid()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("of a disk that is gone: got %v", err)
	}
}

func count(t *testing.T, r *spareRoom) int {
	t.Helper()
	entries, err := os.ReadDir(r.dir)
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}
