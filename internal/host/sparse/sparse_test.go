package sparse_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/unifaas/unifaas/internal/host/sparse"
)

// file makes a file of size bytes with data at the given positions.
func file(t *testing.T, size int64, data map[int64]string) *os.File {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "file"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	for at, text := range data {
		if _, err := f.WriteAt([]byte(text), at); err != nil {
			t.Fatal(err)
		}
	}
	return f
}

func TestCopy(t *testing.T) {
	const mib = 1 << 20
	for name, c := range map[string]struct {
		size int64
		data map[int64]string
	}{
		"empty":        {},
		"small":        {5, map[int64]string{0: "hello"}},
		"a hole":       {3 * mib, nil},
		"in a hole":    {8 * mib, map[int64]string{2*mib + 5: "middle"}},
		"at both ends": {8*mib + 1, map[int64]string{0: "begin", 8*mib - 2: "end"}},
	} {
		from, to := file(t, c.size, c.data), file(t, 0, nil)
		if err := errors.Join(sparse.Copy(to, 100, from, c.size), to.Truncate(100+c.size)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		want, err1 := os.ReadFile(from.Name())
		got, err2 := os.ReadFile(to.Name())
		if err := errors.Join(err1, err2); err != nil || !bytes.Equal(got[100:], want) {
			t.Errorf("%s: the copy is another, %v", name, err)
		}
		info, err := to.Stat()
		if err != nil {
			t.Fatal(err)
		}
		if took := info.Sys().(*syscall.Stat_t).Blocks * 512; took > 256<<10 {
			t.Errorf("%s: the copy takes %d bytes", name, took)
		}
	}
}

// TestChanged cuts a file, which then looks as if it ended with a hole.
func TestChanged(t *testing.T) {
	f := file(t, 0, map[int64]string{0: "hello"})
	was, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	if err := sparse.Unchanged(f, was); err != nil {
		t.Errorf("nothing was done to it: %v", err)
	}
	if err := f.Truncate(0); err != nil {
		t.Fatal(err)
	}
	if err := sparse.Copy(file(t, 0, nil), 0, f, was.Size()); err != nil {
		t.Errorf("copy: %v", err)
	}
	if err := sparse.Unchanged(f, was); !errors.Is(err, sparse.ErrChanged) {
		t.Errorf("got %v", err)
	}
	if err := sparse.CopyRange(file(t, 0, nil), 0, f, 0, 5); !errors.Is(err, sparse.ErrChanged) {
		t.Errorf("copy a range: %v", err)
	}
}
