package cpio_test

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/unifaas/unifaas/internal/guest/linux/cpio"
)

func archive(t testing.TB, fill func(*cpio.Writer)) []byte {
	t.Helper()
	var b bytes.Buffer
	w := cpio.NewWriter(&b)
	fill(w)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func sample(t testing.TB) []byte {
	first := archive(t, func(w *cpio.Writer) {
		w.Program("/init", "code")
		w.Device("/dev/console", 5, 1)
	})
	second := archive(t, func(w *cpio.Writer) {
		w.Text("/root/a b", strings.Repeat("x", 1000))
		w.Link("/root/link", "a b")
	})
	return append(append(first, make([]byte, 512)...), second...)
}

func read(data []byte) (all []cpio.Entry, err error) {
	err = cpio.Read(bytes.NewReader(data), func(e cpio.Entry) error {
		all = append(all, e)
		return nil
	})
	return all, err
}

func TestRead(t *testing.T) {
	got, err := read(sample(t))
	want := []cpio.Entry{
		{Name: "init", Mode: 0o100755, Size: 4}, {Name: "dev", Mode: 0o040755}, {Name: "dev/console", Mode: 0o020600},
		{Name: "root", Mode: 0o040755}, {Name: "root/a b", Mode: 0o100644, Size: 1000}, {Name: "root/link", Mode: 0o120777, Size: 3, Target: "a b"},
	}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("got %+v, %v; want %+v", got, err, want)
	}
}

func TestReadTruncated(t *testing.T) {
	whole := archive(t, func(w *cpio.Writer) { w.Text("/a/b", "content") })
	for n := range whole {
		// What fills up after the last entry may be missing.
		if _, err := read(whole[:n]); err == nil && n < len(whole)-3 {
			t.Fatalf("%d of %d bytes were taken for an archive", n, len(whole))
		}
	}
}

func FuzzRead(f *testing.F) {
	f.Add(sample(f))
	f.Add([]byte("070701"))
	f.Fuzz(func(_ *testing.T, data []byte) { _, _ = read(data) })
}
