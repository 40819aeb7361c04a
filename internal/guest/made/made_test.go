package made

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/unifaas/unifaas/internal/faas"
)

// TestPrune has files of different ages: what is in use is wanted time and again.
func TestPrune(t *testing.T) {
	dir := t.TempDir()
	served, removed := faas.Image{Digest: "sha256:served"}, faas.Image{Digest: "sha256:removed"}
	files := []struct {
		name  string
		age   time.Duration
		stays bool
	}{
		{Name(served) + "-1.disk", time.Minute, true},
		{Name(served) + "-2.disk", 2 * time.Hour, true},
		{Name(served) + "-3.disk", 25 * time.Hour, false}, // of a revision before
		{Name(served) + ".erofs", 25 * time.Hour, false},
		{Name(removed) + "-1.disk", time.Minute, true}, // it may be coming
		{Name(removed) + "-2.disk", 2 * time.Hour, false},
		{temporary + "1", time.Minute, true},
		{temporary + "2", 2 * time.Hour, false},
	}
	var want []string
	for _, f := range files {
		age(t, filepath.Join(dir, f.name), f.age)
		if f.stays {
			want = append(want, f.name)
		}
	}
	if err := Prune(dir, []faas.Image{served}, time.Hour); err != nil {
		t.Fatal(err)
	}
	if slices.Sort(want); !slices.Equal(names(t, dir), want) {
		t.Errorf("left are %q, want %q", names(t, dir), want)
	}
	if err := errors.Join(Prune(dir, nil, 0), Prune(filepath.Join(dir, "missing"), nil, 0)); err != nil {
		t.Fatal(err)
	}
	if got, want := names(t, dir), []string{temporary + "1"}; !slices.Equal(got, want) {
		t.Errorf("left are %q, want what may be being written: %q", got, want)
	}
}

func TestPruneShared(t *testing.T) {
	dir := t.TempDir()
	for name, since := range map[string]time.Duration{"present": 25 * time.Hour, "former": 25 * time.Hour, "new": time.Minute} {
		age(t, filepath.Join(dir, name), since)
	}
	if err := errors.Join(Want(filepath.Join(dir, "present")), PruneShared(dir, 0)); err != nil {
		t.Fatal(err)
	}
	if got, want := names(t, dir), []string{"new", "present"}; !slices.Equal(got, want) {
		t.Errorf("left are %q, want %q", got, want)
	}
	if err := Want(filepath.Join(dir, "former")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("to want what is gone: %v", err)
	}
}

// age makes a file that was last wanted that long ago.
func age(t *testing.T, path string, since time.Duration) {
	t.Helper()
	err := errors.Join(os.WriteFile(path, nil, 0o600), os.Chtimes(path, time.Now().Add(-since), time.Now()))
	if err != nil {
		t.Fatal(err)
	}
}

func names(t *testing.T, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}
