package record_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/unifaas/unifaas/internal/lab/record"
)

func samples(values ...float64) []record.Sample {
	var all []record.Sample
	for _, v := range values {
		all = append(all, record.Sample{
			Key:   record.Key{Experiment: "cold-start", Sandbox: "gvisor", Language: "go", Unit: "ms"},
			Value: v, At: time.Unix(1700000000, 0).UTC(), Load: 0.5,
		})
	}
	return all
}

func open(t *testing.T, dir string) *record.Journal {
	t.Helper()
	j, err := record.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = j.Close() })
	return j
}

func values(all []record.Sample) []float64 {
	var v []float64
	for _, s := range all {
		v = append(v, s.Value)
	}
	return v
}

func TestJournal(t *testing.T) {
	dir := t.TempDir()
	j := open(t, dir)
	if err := j.Append("one", samples(1, 2)); err != nil {
		t.Fatal(err)
	}
	if err := j.Append("nothing", nil); err != nil {
		t.Fatal(err)
	}
	failed := samples(0)
	failed[0].Failure = &record.Failure{Class: record.Timeout, Text: "no answer"}
	if err := j.Append("two", failed); err != nil {
		t.Fatal(err)
	}
	want := j.Samples()
	if diff := cmp.Diff([]float64{1, 2, 0}, values(want)); diff != "" {
		t.Errorf("samples (-want +got):\n%s", diff)
	}
	if want[1].Step != "one" || want[1].Seq != 1 {
		t.Errorf("the second sample is of step %q, number %d", want[1].Step, want[1].Seq)
	}
	again := open(t, dir)
	if diff := cmp.Diff(want, again.Samples()); diff != "" {
		t.Errorf("read again (-want +got):\n%s", diff)
	}
	for step, has := range map[string]bool{"one": true, "nothing": true, "two": true, "three": false} {
		if again.Has(step) != has {
			t.Errorf("it has step %q: %v", step, !has)
		}
	}
	loaded, err := record.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, loaded); diff != "" {
		t.Errorf("loaded (-want +got):\n%s", diff)
	}
}

// TestCutOff: wherever a write was cut off, whole steps stay and the next one
// is written behind them.
func TestCutOff(t *testing.T) {
	dir := t.TempDir()
	j := open(t, dir)
	if err := j.Append("one", samples(1, 2)); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "samples.jsonl")
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := j.Append("two", samples(3, 4)); err != nil {
		t.Fatal(err)
	}
	both, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for n := len(whole); n < len(both); n += 7 {
		if err := os.WriteFile(path, both[:n], 0o600); err != nil {
			t.Fatal(err)
		}
		j := open(t, dir)
		if j.Has("two") || len(j.Samples()) != 2 {
			t.Fatalf("cut off after %d bytes: %v", n, values(j.Samples()))
		}
		if err := j.Append("two", samples(5)); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]float64{1, 2, 5}, values(open(t, dir).Samples())); diff != "" {
			t.Fatalf("cut off after %d bytes, written again (-want +got):\n%s", n, diff)
		}
	}
}

func TestFullDisk(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can mount a small disk")
	}
	dir := t.TempDir()
	if err := unix.Mount("small", dir, "tmpfs", 0, "size=16k"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	j := open(t, dir)
	kept := 0
	var err error
	for range 100 {
		if err = j.Append(fmt.Sprint("step ", kept), samples(1, 2, 3)); err != nil {
			break
		}
		kept++
	}
	if err == nil || !strings.Contains(err.Error(), "no space left") {
		t.Fatalf("after %d steps: got %v", kept, err)
	}
	if n := len(j.Samples()); n != 3*kept {
		t.Errorf("%d samples of %d steps", n, kept)
	}
	if n := len(open(t, dir).Samples()); n != 3*kept {
		t.Errorf("read again: %d samples of %d steps", n, kept)
	}
}

func TestBrokenJournal(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "samples.jsonl"), []byte("{}\nnonsense\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := record.Open(dir); err == nil || !strings.Contains(err.Error(), "line 2") {
		t.Errorf("got %v", err)
	}
}

func FuzzJournal(f *testing.F) {
	dir := f.TempDir()
	j, err := record.Open(dir)
	if err != nil {
		f.Fatal(err)
	}
	if err := j.Append("one", samples(1)); err != nil {
		f.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "samples.jsonl"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Fuzz(func(t *testing.T, text []byte) {
		dir := t.TempDir()
		path := filepath.Join(dir, "samples.jsonl")
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		j, err := record.Open(dir)
		if err != nil {
			return
		}
		defer j.Close()
		left, err := os.ReadFile(path)
		if err != nil || !bytes.HasPrefix(text, left) {
			t.Errorf("it left %q, %v", left, err)
		}
	})
}

func TestParameter(t *testing.T) {
	k := record.Key{Parameters: "requests=204;connections=4"}
	for name, want := range map[string]string{"requests": "204", "connections": "4", "con": "", "": ""} {
		if got := k.Parameter(name); got != want {
			t.Errorf("%q: got %q, want %q", name, got, want)
		}
	}
}
