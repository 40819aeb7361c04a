package logs_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/unifaas/unifaas/internal/logs"
)

func open(t *testing.T, c *logs.Collector, function, instance string) (*logs.Stream, *os.File) {
	t.Helper()
	s, err := c.Open(function, instance, filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	w, err := s.Writer()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.Close() })
	return s, w
}

func newCollector(t *testing.T, opts logs.Options) *logs.Collector {
	t.Helper()
	opts.Dir = t.TempDir()
	c, err := logs.New(opts)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestOutputIsKeptInOrderAndAfterTheEnd(t *testing.T) {
	c := newCollector(t, logs.Options{})
	s, w := open(t, c, "f", "i1")
	fmt.Fprint(w, "one\ntwo\nthree without end")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	entries, err := c.Read("f", "", 0)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		if e.Instance != "i1" || time.Since(e.Time) > time.Hour {
			t.Errorf("entry %+v: wrong instance or time", e)
		}
		got = append(got, e.Text)
	}
	if want := "one|two|three without end"; strings.Join(got, "|") != want {
		t.Errorf("kept %q, want %q", got, want)
	}
	if tail := strings.Join(s.Tail(), "|"); tail != "one|two|three without end" {
		t.Errorf("tail %q", tail)
	}
}

func TestFilesAreBounded(t *testing.T) {
	const limit = 64 << 10
	c := newCollector(t, logs.Options{FileSize: limit})
	s, w := open(t, c, "f", "i1")
	line := strings.Repeat("x", 1023) + "\n"
	for range 1024 {
		fmt.Fprint(w, line)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	entries, err := c.Read("f", "", 0)
	if err != nil {
		t.Fatal(err)
	}
	if n := len(entries); n == 0 || n > 2*limit/1024+2 {
		t.Errorf("%d lines kept of 1024, want at most what two files of %d bytes hold", n, limit)
	}
}

func TestAnInstanceThatEndsRightAfterARotationIsFound(t *testing.T) {
	c := newCollector(t, logs.Options{FileSize: 1})
	s, w := open(t, c, "f", "i1")
	fmt.Fprintln(w, "the only line")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	entries, err := c.Read("f", "", 0)
	if err != nil || len(entries) != 1 || entries[0].Text != "the only line" {
		t.Errorf("kept %+v, %v", entries, err)
	}
}

func TestLongLinesAreSplitNotBuffered(t *testing.T) {
	c := newCollector(t, logs.Options{})
	s, w := open(t, c, "f", "i1")
	fmt.Fprint(w, strings.Repeat("y", 100<<10))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	entries, err := c.Read("f", "", 0)
	if err != nil {
		t.Fatal(err)
	}
	total := 0
	for _, e := range entries {
		total += len(e.Text)
	}
	if len(entries) < 2 || total != 100<<10 {
		t.Errorf("%d lines with %d bytes, want several with %d", len(entries), total, 100<<10)
	}
}

func TestOldInstancesArePruned(t *testing.T) {
	c := newCollector(t, logs.Options{Retain: 3})
	for i := range 6 {
		s, w := open(t, c, "f", fmt.Sprintf("i%d", i))
		fmt.Fprintln(w, "hello")
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	entries, err := c.Read("f", "", 0)
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) != 3 {
		t.Errorf("output of %d instances kept, want 3", len(entries))
	}
}

func TestFollowSeesNewLinesOfItsFunctionOnly(t *testing.T) {
	c := newCollector(t, logs.Options{})
	mine, w := open(t, c, "f", "i1")
	other, ow := open(t, c, "g", "i2")
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	got := make(chan string, 16)
	finished := make(chan error, 1)
	go func() {
		finished <- c.Follow(ctx, "f", "", 0, func(e logs.Entry) error { got <- e.Text; return nil })
	}()
	for { // until the follower is registered
		fmt.Fprintln(ow, "not mine")
		fmt.Fprintln(w, "mine")
		select {
		case text := <-got:
			if text != "mine" {
				t.Errorf("followed %q", text)
			}
			cancel()
			if err := <-finished; err != nil {
				t.Error(err)
			}
			if err := mine.Close(); err != nil {
				t.Error(err)
			}
			if err := other.Close(); err != nil {
				t.Error(err)
			}
			return
		case <-ctx.Done():
			t.Fatal("nothing followed")
		case <-time.After(time.Millisecond):
		}
	}
}

func TestAnotherReaderTakesOver(t *testing.T) {
	dir, fifo := t.TempDir(), filepath.Join(t.TempDir(), "out")
	first, err := logs.New(logs.Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	s1, err := first.Open("f", "i", fifo)
	if err != nil {
		t.Fatal(err)
	}
	w, err := s1.Writer()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	fmt.Fprintln(w, "before")
	if err := s1.Close(); err != nil {
		t.Fatal(err)
	}
	fmt.Fprintln(w, "between") // nobody reads: must not break the writer
	second, err := logs.New(logs.Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	s2, err := second.Open("f", "i", fifo)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintln(w, "after")
	if err := s2.Close(); err != nil {
		t.Fatal(err)
	}
	entries, err := second.Read("f", "i", 0)
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) != 3 || entries[1].Text != "between" {
		t.Errorf("kept %+v, want before, between, after", entries)
	}
}
