package logs_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/unifaas/unifaas/internal/logs"
)

// say runs an instance that prints one line.
func say(t *testing.T, c *logs.Collector, function, instance, line string) {
	t.Helper()
	s, w := open(t, c, function, instance)
	fmt.Fprintln(w, line)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

func keep(t *testing.T, c *logs.Collector, functions ...string) {
	t.Helper()
	if err := c.Keep(functions); err != nil {
		t.Fatal(err)
	}
}

func wantLines(t *testing.T, c *logs.Collector, function string, want ...string) {
	t.Helper()
	entries, err := c.Read(function, "", 0)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		got = append(got, e.Text)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("kept of %s (-want +got):\n%s", function, diff)
	}
}

// aside lists what is kept of removed functions, without the times.
func aside(t *testing.T, dir string) []string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(dir, ".removed", "*", "*"))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, path := range paths {
		folder := filepath.Base(filepath.Dir(path))
		names = append(names, folder[:strings.LastIndex(folder, "@")]+"/"+filepath.Base(path))
	}
	return names
}

func TestAFunctionThatComesAgainBeginsWithoutOutput(t *testing.T) {
	dir := t.TempDir()
	c, err := logs.New(logs.Options{Dir: dir, FileSize: 1}) // every line rotates
	if err != nil {
		t.Fatal(err)
	}
	say(t, c, "f", "i1", "old")
	say(t, c, "team/f", "i2", "of another namespace")
	draining, w := open(t, c, "f", "i3")
	fmt.Fprintln(w, "still draining")
	draining.Settle()

	keep(t, c, "team/f")
	wantLines(t, c, "f", "still draining")
	say(t, c, "f", "i4", "new")
	keep(t, c, "team/f", "f")
	fmt.Fprintln(w, "last words")
	if err := draining.Close(); err != nil {
		t.Fatal(err)
	}
	wantLines(t, c, "f", "new")
	wantLines(t, c, "team/f", "of another namespace")
	if diff := cmp.Diff([]string{"f/i1.log.1", "f/i3.log.1"}, aside(t, dir)); diff != "" {
		t.Errorf("set aside (-want +got):\n%s", diff)
	}
}

func TestOutputOfARemovedFunctionIsSetAside(t *testing.T) {
	dir := t.TempDir()
	c, err := logs.New(logs.Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	say(t, c, "f", "i1", "one")
	if err := os.WriteFile(filepath.Join(dir, "stray"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	keep(t, c)
	wantLines(t, c, "f")
	if _, err := os.Stat(filepath.Join(dir, "f")); !os.IsNotExist(err) {
		t.Errorf("the function's folder is still there: %v", err)
	}
	if err := c.Prune(); err != nil {
		t.Fatal(err)
	}
	if got := aside(t, dir); len(got) != 1 {
		t.Errorf("set aside %q, want one file", got)
	}
}

func TestOutputOfRemovedFunctionsIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		c, err := logs.New(logs.Options{Dir: dir, RemovedSize: 3 * 8192}) // a small file and its folder take 8192
		if err != nil {
			t.Fatal(err)
		}
		for i := range 6 {
			function := fmt.Sprint("f", i)
			folder := filepath.Join(dir, function)
			if err := os.Mkdir(folder, 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(folder, "i.log"), []byte("x"), 0o600); err != nil {
				t.Fatal(err)
			}
			keep(t, c)
			time.Sleep(time.Second)
		}
		if diff := cmp.Diff([]string{"f3/i.log", "f4/i.log", "f5/i.log"}, aside(t, dir)); diff != "" {
			t.Errorf("set aside (-want +got):\n%s", diff)
		}
		time.Sleep(24 * time.Hour)
		if err := c.Prune(); err != nil {
			t.Fatal(err)
		}
		if got := aside(t, dir); len(got) != 0 {
			t.Errorf("a day later there is still %q", got)
		}
	})
}
