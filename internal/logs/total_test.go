package logs_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/unifaas/unifaas/internal/logs"
)

// fillLog has an instance print size bytes.
func fillLog(t *testing.T, w *os.File, size int) {
	t.Helper()
	line := strings.Repeat("x", 1023) + "\n"
	for range size / len(line) {
		if _, err := fmt.Fprint(w, line); err != nil {
			t.Fatal(err)
		}
	}
}

// kept lists the files of living functions, and what they take together.
func kept(t *testing.T, dir string) (names []string, size int64) {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(dir, "*", "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range paths {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, filepath.Base(filepath.Dir(path))+"/"+filepath.Base(path))
		size += info.Size()
	}
	return names, size
}

func totalCollector(t *testing.T, fileSize int64) (*logs.Collector, string) {
	t.Helper()
	dir := t.TempDir()
	c, err := logs.New(logs.Options{Dir: dir, FileSize: fileSize, TotalSize: 500 << 10, RemovedSize: 100 << 10})
	if err != nil {
		t.Fatal(err)
	}
	return c, dir
}

// TestAllFilesTogetherAreBounded while they are written, whichever function's
// they are; the oldest of what has ended goes.
func TestAllFilesTogetherAreBounded(t *testing.T) {
	c, dir := totalCollector(t, 1<<20)
	living, w := open(t, c, "f0", "live")
	fillLog(t, w, 50<<10)
	living.Settle()
	for i := range 10 {
		s, w := open(t, c, fmt.Sprintf("f%d", i%5), fmt.Sprintf("i%d", i))
		fillLog(t, w, 90<<10)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if _, size := kept(t, dir); size > 410<<10 {
			t.Fatalf("after %d instances the files take %d bytes", i+1, size)
		}
	}
	names, _ := kept(t, dir)
	if got := strings.Join(names, " "); !strings.Contains(got, "f0/live.log") || !strings.Contains(got, "f4/i9.log") || strings.Contains(got, "i0.log") {
		t.Errorf("kept are %v, want that of the living one and the newest", names)
	}
	if err := living.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestLivingInstancesLoseTheirOldLines where all that there is lives.
func TestLivingInstancesLoseTheirOldLines(t *testing.T) {
	c, dir := totalCollector(t, 40<<10)
	for i := range 9 {
		s, w := open(t, c, "f", fmt.Sprintf("i%d", i))
		fillLog(t, w, 75<<10)
		s.Settle()
		t.Cleanup(func() { _ = s.Close() })
	}
	if err := c.Prune(); err != nil {
		t.Fatal(err)
	}
	names, size := kept(t, dir)
	if size > 400<<10 || len(names) < 9 {
		t.Errorf("kept are %v with %d bytes", names, size)
	}
	for i := range 9 {
		if !strings.Contains(strings.Join(names, " "), fmt.Sprintf("i%d.log", i)) {
			t.Errorf("the newest lines of i%d are gone: %v", i, names)
		}
	}
}

// TestWhatAnEarlierRunLeftCounts.
func TestWhatAnEarlierRunLeftCounts(t *testing.T) {
	c, dir := totalCollector(t, 1<<20)
	for i := range 6 {
		path := filepath.Join(dir, "f", fmt.Sprintf("i%d.log", i))
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, make([]byte, 100<<10), 0o600); err != nil {
			t.Fatal(err)
		}
		at := time.Now().Add(time.Duration(i-10) * time.Hour)
		if err := os.Chtimes(path, at, at); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Prune(); err != nil {
		t.Fatal(err)
	}
	if names, _ := kept(t, dir); strings.Join(names, " ") != "f/i3.log f/i4.log f/i5.log" {
		t.Errorf("kept are %v, want the newest three", names)
	}
}
