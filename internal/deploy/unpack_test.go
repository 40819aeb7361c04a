package deploy

import (
	"archive/tar"
	"bytes"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/unifaas/unifaas/internal/faas"
)

type entry struct {
	tar.Header
	content string
}

func file(name, content string) entry {
	return entry{tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: int64(len(content))}, content}
}

func link(name, target string) entry {
	return entry{tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: target}, ""}
}

func special(kind byte, name string) entry {
	return entry{tar.Header{Typeflag: kind, Name: name, Linkname: "a"}, ""}
}

func archive(t testing.TB, entries ...entry) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		if err := w.WriteHeader(&e.Header); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, e.content); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestUnpackRefuses(t *testing.T) {
	for _, c := range []struct {
		name    string
		entries []entry
		kind    faas.Kind
		want    string
	}{
		{"a way up", []entry{file("../a", "x")}, faas.KindInvalid, "not one inside"},
		{"a way up and down", []entry{file("b/../a", "x")}, faas.KindInvalid, "not one inside"},
		{"a way up from below", []entry{file("b/../../a", "x")}, faas.KindInvalid, "not one inside"},
		{"an absolute path", []entry{file("/etc/passwd", "x")}, faas.KindInvalid, "not one inside"},
		{"no name", []entry{file("", "x")}, faas.KindInvalid, "not one inside"},
		{"the root as a file", []entry{file(".", "x")}, faas.KindInvalid, "not one inside"},
		{"a file twice", []entry{file("a", "x"), file("a", "y")}, faas.KindInvalid, "twice"},
		{"a file as a folder", []entry{file("a", "x"), special(tar.TypeDir, "a")}, faas.KindInvalid, "twice"},
		{"a folder as a file", []entry{special(tar.TypeDir, "a"), file("a", "x")}, faas.KindInvalid, "twice"},
		{"through a file", []entry{file("a", "x"), file("a/b", "y")}, faas.KindInvalid, "no folder"},
		{"through a link", []entry{link("a", "b"), file("a/c", "y")}, faas.KindInvalid, "no folder"},
		{"through a link that leads out", []entry{link("a", "/tmp"), file("a/c", "y")}, faas.KindInvalid, "no folder"},
		{"over a link", []entry{link("a", "/tmp/x"), file("a", "y")}, faas.KindInvalid, "twice"},
		{"a hard link", []entry{file("a", "x"), special(tar.TypeLink, "b")}, faas.KindInvalid, "hard link"},
		{"a device", []entry{special(tar.TypeChar, "null")}, faas.KindInvalid, "device"},
		{"a disk", []entry{special(tar.TypeBlock, "sda")}, faas.KindInvalid, "device"},
		{"a FIFO", []entry{special(tar.TypeFifo, "pipe")}, faas.KindInvalid, "FIFO"},
		{"a long name", []entry{file(strings.Repeat("a", 300), "x")}, faas.KindInvalid, "can't be made"},
		{"too much", []entry{file("a", strings.Repeat("x", 600)), file("b", strings.Repeat("x", 600))}, faas.KindTooLarge, "larger than"},
		{"too many", []entry{file("a/b/c/d/e", "")}, faas.KindTooLarge, "more than 4"},
	} {
		t.Run(c.name, func(t *testing.T) {
			parent := t.TempDir()
			dir := filepath.Join(parent, "bundle")
			if err := os.Mkdir(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			err := unpack(bytes.NewReader(archive(t, c.entries...)), dir, Limits{Bytes: 1000, Files: 4})
			if faas.KindOf(err) != c.kind || err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want one of kind %v with %q", err, c.kind, c.want)
			}
			if entries, err := os.ReadDir(parent); err != nil || len(entries) != 1 {
				t.Errorf("beside the bundle there are %v, %v", entries, err)
			}
		})
	}
}

// TestUnpackRefusesBrokenStreams has raw bytes where a writer would not help.
func TestUnpackRefusesBrokenStreams(t *testing.T) {
	whole := archive(t, file("a", strings.Repeat("x", 2000)))
	sparse := tar.Header{Typeflag: tar.TypeReg, Name: "big", Size: 1 << 40}
	var huge bytes.Buffer
	if err := tar.NewWriter(&huge).WriteHeader(&sparse); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		data []byte
		kind faas.Kind
	}{
		{"cut in a file", whole[:1500], faas.KindInvalid},
		{"cut in a head", whole[:100], faas.KindInvalid},
		{"no tar", bytes.Repeat([]byte("no tar "), 1000), faas.KindInvalid},
		{"1 TB that never comes", huge.Bytes(), faas.KindTooLarge},
		{"more behind it", append(bytes.Clone(whole), make([]byte, maxRest+4096)...), faas.KindInvalid},
	} {
		if err := unpack(bytes.NewReader(c.data), t.TempDir(), Limits{Bytes: 1 << 20, Files: 9}); faas.KindOf(err) != c.kind || err == nil {
			t.Errorf("%s: %v, want an error of kind %v", c.name, err, c.kind)
		}
	}
}

func TestAnUploadThatBreaksOffIsNotTheTarsFault(t *testing.T) {
	whole := archive(t, file("a", strings.Repeat("x", 5000)))
	broken := io.MultiReader(bytes.NewReader(whole[:2000]), failing{})
	if err := unpack(broken, t.TempDir(), Limits{Bytes: 1 << 20, Files: 9}); err != errGone { //nolint:errorlint // exactly that one
		t.Errorf("%v, want the reader's own error", err)
	}
}

var errGone = faas.Errorf(faas.KindCanceled, "the client has gone")

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, errGone }

// node is what a tree has at a path.
type node struct {
	Mode   fs.FileMode
	Text   string
	Change time.Time
}

func read(t *testing.T, dir string) map[string]node {
	t.Helper()
	tree := map[string]node{}
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || name == dir {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		n := node{Mode: info.Mode(), Change: info.ModTime().Truncate(time.Second)}
		switch {
		case info.Mode().IsRegular():
			text, err := os.ReadFile(name)
			if err != nil {
				return err
			}
			n.Text = string(text)
		case info.Mode()&fs.ModeSymlink != 0:
			n.Text, err = os.Readlink(name)
		}
		rel, _ := filepath.Rel(dir, name)
		tree[rel] = n
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

func TestWhatIsPackedIsUnpacked(t *testing.T) {
	from, to := t.TempDir(), t.TempDir()
	old := time.Date(2001, 2, 3, 4, 5, 6, 0, time.UTC)
	for _, dir := range []string{"empty", "a/b/c", "sticky"} {
		if err := os.MkdirAll(filepath.Join(from, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, mode := range map[string]fs.FileMode{"plain": 0o644, "a/b/program": 0o755, "a/b/c/secret": 0o600, "a/" + strings.Repeat("long", 50): 0o444} {
		if err := os.WriteFile(filepath.Join(from, name), []byte(name), mode); err != nil {
			t.Fatal(err)
		}
	}
	for name, target := range map[string]string{"link": "a/b", "a/up": "../plain", "dangling": "nothing"} {
		if err := os.Symlink(target, filepath.Join(from, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(filepath.Join(from, "sticky"), 0o777|fs.ModeSticky); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"plain", "a/b/program", "a/b", "a"} {
		if err := os.Chtimes(filepath.Join(from, name), old, old); err != nil {
			t.Fatal(err)
		}
	}
	var b bytes.Buffer
	p := NewPacker(&b)
	if err := p.Folder("", from); err != nil {
		t.Fatal(err)
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	if err := unpack(&b, to, Limits{Bytes: 1 << 20, Files: 99}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(read(t, from), read(t, to)); diff != "" {
		t.Errorf("packed (-) and unpacked (+) differ:\n%s", diff)
	}
}

// FuzzUnpack: whatever comes, nothing is made beside the folder, and what is
// made can be removed and is within the limits.
func FuzzUnpack(f *testing.F) {
	f.Add(archive(f, file("function.toml", "image = \"file:./a\"\n"), file("a", "x"), link("b", "a")))
	f.Add(archive(f, file("../a", "x"), link("l", "/etc"), file("l/passwd", "x")))
	f.Add(archive(f, special(tar.TypeDir, "d/"), file("d/e", "x"), special(tar.TypeLink, "h"), special(tar.TypeChar, "c")))
	f.Fuzz(func(t *testing.T, data []byte) {
		parent := t.TempDir()
		dir := filepath.Join(parent, "bundle")
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		limits := Limits{Bytes: 1 << 16, Files: 50}
		err := unpack(bytes.NewReader(data), dir, limits)
		if beside, _ := os.ReadDir(parent); len(beside) != 1 {
			t.Fatalf("made %v beside the bundle", beside)
		}
		var bytes int64
		var files int
		walk := filepath.WalkDir(dir, func(_ string, d fs.DirEntry, walkErr error) error {
			if walkErr != nil {
				return walkErr
			}
			files++
			info, infoErr := d.Info()
			if infoErr == nil && info.Mode().IsRegular() {
				bytes += info.Size()
			}
			if kind := d.Type(); kind&^(fs.ModeDir|fs.ModeSymlink) != 0 {
				t.Errorf("made a %v", kind)
			}
			return infoErr
		})
		if walk != nil || files > limits.Files+1 || err == nil && bytes > limits.Bytes {
			t.Errorf("%v; %d files of %d bytes", walk, files, bytes)
		}
	})
}
