package archive

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// entry is what a test wants to know of one file of a tar.
type entry struct {
	Type       byte
	Mode       int64
	UID, GID   int
	Link, Text string
	Attributes map[string]string
}

func TestTar(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("owners and capabilities take root")
	}
	dir := t.TempDir()
	old := time.Unix(1_000_000_000, 0)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	in := func(name string) string { return filepath.Join(dir, name) }
	must(os.Mkdir(in("tmp"), 0o755))
	must(os.Chmod(in("tmp"), 0o777|os.ModeSticky))
	must(os.WriteFile(in("program"), []byte("content"), 0o755))
	must(os.Chown(in("program"), 12, 34))
	must(os.Chmod(in("program"), 0o755|os.ModeSetuid))
	must(os.Chtimes(in("program"), old, old))
	must(os.Link(in("program"), in("same")))
	must(os.Symlink("/etc/shadow", in("away")))
	must(os.WriteFile(in("empty"), nil, 0o600))
	attributes := map[string]string{"SCHILY.xattr.user.note": "a value\x00with a zero"}
	if err := unix.Setxattr(in("empty"), "user.note", []byte("a value\x00with a zero"), 0); errors.Is(err, unix.ENOTSUP) {
		attributes = nil
	} else {
		must(err)
	}

	var text bytes.Buffer
	must(Tar(t.Context(), &text, dir, Options{Directories: []string{"/tmp", "/proc"}}))
	got, modified := readTar(t, &text)
	want := map[string]entry{
		"tmp/":    {Type: tar.TypeDir, Mode: 0o1777},
		"proc/":   {Type: tar.TypeDir, Mode: 0o755},
		"program": {Type: tar.TypeReg, Mode: 0o4755, UID: 12, GID: 34, Text: "content"},
		"same":    {Type: tar.TypeLink, Mode: 0o4755, UID: 12, GID: 34, Link: "program"},
		"away":    {Type: tar.TypeSymlink, Mode: 0o777, Link: "/etc/shadow"},
		"empty":   {Type: tar.TypeReg, Mode: 0o600, Attributes: attributes},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the tar (-want +got):\n%s", diff)
	}
	text.Reset()
	must(Tar(t.Context(), &text, dir, Options{Owner0: true}))
	if got, _ := readTar(t, &text); got["program"].UID != 0 || got["program"].GID != 0 {
		t.Errorf("owner of program: got %d:%d", got["program"].UID, got["program"].GID)
	}
	if !modified["program"].Equal(old) {
		t.Errorf("time of program: got %v, want %v", modified["program"], old)
	}
}

func readTar(t *testing.T, r io.Reader) (map[string]entry, map[string]time.Time) {
	t.Helper()
	entries, modified := map[string]entry{}, map[string]time.Time{}
	for in := tar.NewReader(r); ; {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			return entries, modified
		} else if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(in)
		if err != nil {
			t.Fatal(err)
		}
		e := entry{Type: h.Typeflag, Mode: h.Mode, UID: h.Uid, GID: h.Gid, Link: h.Linkname, Text: string(content)}
		for name, value := range h.PAXRecords {
			if name != "mtime" && name != "atime" && name != "ctime" {
				if e.Attributes == nil {
					e.Attributes = map[string]string{}
				}
				e.Attributes[name] = value
			}
		}
		entries[h.Name], modified[h.Name] = e, h.ModTime
	}
}

func TestTarOfNothing(t *testing.T) {
	if err := Tar(t.Context(), io.Discard, filepath.Join(t.TempDir(), "missing"), Options{}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v, want that there is no such folder", err)
	}
}
