package tree_test

import (
	"bytes"
	"path"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/unifaas/unifaas/internal/image/tree"
)

var (
	file = tree.Node{Type: tree.File, Mode: 0o644, Content: strings.Repeat("ab", 32), Size: 3}
	dir  = tree.Node{Type: tree.Dir, Mode: 0o750}
)

func link(target string) tree.Node { return tree.Node{Type: tree.Symlink, Target: target} }

func put(t *testing.T, tr *tree.Tree, p string, n tree.Node) string {
	t.Helper()
	at, err := tr.Put(p, n)
	if err != nil {
		t.Fatal(err)
	}
	return at
}

func TestPutFollowsLinksOfParentsInsideTheTree(t *testing.T) {
	tr := tree.New()
	put(t, tr, "/lib", link("usr/lib"))
	put(t, tr, "/abs", link("/usr"))
	put(t, tr, "/out", link("../../../../etc"))
	for p, want := range map[string]string{
		"/lib/libc.so":      "/usr/lib/libc.so",
		"/abs/lib/libm.so":  "/usr/lib/libm.so",
		"/out/passwd":       "/etc/passwd",
		"/a/b/c":            "/a/b/c",
		"relative/../x":     "/x",
		"/../../../../root": "/root",
	} {
		if got := put(t, tr, p, file); got != want {
			t.Errorf("%s went to %s, want %s", p, got, want)
		}
		if !tr.Has(p) || !tr.Has(want) {
			t.Errorf("%s or %s is not there", p, want)
		}
	}
	if n, _ := tr.Lookup("/lib"); n.Type != tree.Symlink {
		t.Error("/lib is no link any more")
	}
}

func TestPutReplaces(t *testing.T) {
	for name, test := range map[string]struct {
		old, new tree.Node
		ok       bool
	}{
		"file by file":   {file, file, true},
		"file by link":   {file, link("x"), true},
		"link by file":   {link("/etc/shadow"), file, true},
		"folder by self": {tree.Node{Type: tree.Dir, Mode: 0o700}, dir, true},
		"folder by file": {dir, file, false},
		"folder by link": {dir, link("x"), false},
		"file by folder": {file, dir, false},
	} {
		tr := tree.New()
		put(t, tr, "/x", test.old)
		_, err := tr.Put("/x", test.new)
		if (err == nil) != test.ok {
			t.Errorf("%s: %v", name, err)
			continue
		}
		want := test.new
		if !test.ok {
			want = test.old
		}
		if got, _ := tr.Lookup("/x"); got != want {
			t.Errorf("%s: there is %+v, want %+v", name, got, want)
		}
	}
}

func TestFolderOnALinkGoesWhereItLeads(t *testing.T) {
	tr := tree.New()
	put(t, tr, "/bin", link("usr/bin"))
	if at := put(t, tr, "/bin", dir); at != "/usr/bin" {
		t.Error("went to", at)
	}
}

func TestPutRefusesImpossiblePaths(t *testing.T) {
	tr := tree.New()
	put(t, tr, "/file", file)
	put(t, tr, "/loop", link("/loop"))
	for _, p := range []string{"/file/below", "/loop/below", "/"} {
		if at, err := tr.Put(p, file); err == nil {
			t.Errorf("%s went to %s", p, at)
		}
	}
}

func TestDigestDependsOnContentNotOrder(t *testing.T) {
	a, b := tree.New(), tree.New()
	put(t, a, "/x/y", file)
	put(t, a, "/z", link("x"))
	put(t, b, "/z", link("x"))
	put(t, b, "/x/y", file)
	if a.Digest() != b.Digest() {
		t.Error("the order of Put changes the digest")
	}
	other := file
	other.Mode = 0o600
	put(t, b, "/x/y", other)
	if a.Digest() == b.Digest() {
		t.Error("the mode is not in the digest")
	}
}

// Whatever is put, every parent is a folder, and the text says it all.
func TestTreeProperties(t *testing.T) {
	name := rapid.SampledFrom([]string{"a", "b", "c", "..", "\xff\"\n", "☃"})
	paths := rapid.Custom(func(t *rapid.T) string {
		return "/" + strings.Join(rapid.SliceOfN(name, 1, 4).Draw(t, "parts"), "/")
	})
	rapid.Check(t, func(t *rapid.T) {
		tr := tree.New()
		for range rapid.IntRange(0, 12).Draw(t, "n") {
			n := rapid.SampledFrom([]tree.Node{file, dir, link("/a/b"), link("../c"), link("b")}).Draw(t, "node")
			// An error is fine: not everything fits together.
			_, _ = tr.Put(paths.Draw(t, "path"), n)
		}
		dirs := map[string]bool{}
		_ = tr.Walk(func(p string, n tree.Node) error {
			if p != "/" && !dirs[path.Dir(p)] {
				t.Fatalf("%q is in no folder", p)
			}
			dirs[p] = n.Type == tree.Dir
			return nil
		})
		again, err := tree.Parse(tr.Text())
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(again.Text(), tr.Text()) || again.Len() != tr.Len() {
			t.Fatal("the text does not say it all")
		}
	})
}

func FuzzParse(f *testing.F) {
	tr := tree.New()
	for p, n := range map[string]tree.Node{
		"/a": file, "/b/c": link("x\n"), "/d": dir, "/e": {Type: tree.File, Content: file.Content, Capability: "\x01\x02", MTime: -1},
	} {
		if _, err := tr.Put(p, n); err != nil {
			f.Fatal(err)
		}
	}
	f.Add(tr.Text())
	f.Add([]byte("unifaas-tree-1\nd 755 0 0 0 0 - - \"\" \"/\"\n"))
	f.Add([]byte("unifaas-tree-1\nf 755 0 0 0 0 - - \"\" \"/../x\"\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		tr, err := tree.Parse(text)
		if err != nil {
			return
		}
		if !bytes.Equal(tr.Text(), text) {
			t.Error("the text changed")
		}
		_ = tr.Walk(func(p string, _ tree.Node) error {
			if path.Clean(p) != p || !path.IsAbs(p) {
				t.Errorf("path %q", p)
			}
			return nil
		})
	})
}
