package layer_test

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/unifaas/unifaas/internal/faas"
	"github.com/unifaas/unifaas/internal/image/imagetest"
	"github.com/unifaas/unifaas/internal/image/layer"
	"github.com/unifaas/unifaas/internal/image/tree"
)

// A memory is a sink that keeps what it is given.
type memory map[string]string

func (m memory) Add(n tree.Node, r io.Reader) (tree.Node, error) {
	b, err := io.ReadAll(io.LimitReader(r, n.Size))
	if err == nil && int64(len(b)) < n.Size {
		err = io.ErrUnexpectedEOF
	}
	sum := sha256.Sum256(b)
	n.Content = hex.EncodeToString(sum[:])
	m[n.Content] = string(b)
	return n, err
}

func unpack(archive []byte, limits layer.Limits) ([]layer.Entry, memory, error) {
	m, r := memory{}, bytes.NewReader(archive)
	entries, err := layer.Unpack(background, r, m, layer.Options{
		Budget: layer.NewBudget(limits), Packed: func() int64 { return int64(len(archive) - r.Len()) },
	})
	return entries, m, err
}

func must(t testing.TB, archive []byte) []layer.Entry {
	t.Helper()
	entries, _, err := unpack(archive, layer.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	return entries
}

type header = tar.Header

func dir(name string) header  { return header{Name: name, Typeflag: tar.TypeDir} }
func file(name string) header { return header{Name: name, Typeflag: tar.TypeReg} }
func symlink(name, to string) header {
	return header{Name: name, Typeflag: tar.TypeSymlink, Linkname: to}
}
func hardlink(name, to string) header {
	return header{Name: name, Typeflag: tar.TypeLink, Linkname: to}
}

// lay returns the paths of the layers laid on each other: path, type and, for
// files, the layer that the content is of.
func lay(t testing.TB, layers ...[]header) (string, error) {
	t.Helper()
	var stack layer.Stack
	all := memory{}
	for i, headers := range layers {
		contents := map[string]string{}
		for _, h := range headers {
			contents[h.Name] = string(rune('1' + i))
		}
		entries, m, err := unpack(imagetest.Tar(t, contents, headers...), layer.Limits{})
		if err != nil {
			return "", err
		}
		for k, v := range m {
			all[k] = v
		}
		if err := stack.Apply(entries); err != nil {
			return "", err
		}
	}
	tr, err := stack.Tree()
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	_ = tr.Walk(func(p string, n tree.Node) error {
		switch n.Type {
		case tree.File:
			p += "=" + all[n.Content]
		case tree.Symlink:
			p += "->" + n.Target
		default:
			p = strings.TrimSuffix(p, "/") + "/"
		}
		out = append(out, p)
		return nil
	})
	if _, err := tree.Parse(tr.Text()); err != nil {
		t.Error(err)
	}
	return strings.Join(out, " "), nil
}

func TestLayersOnEachOther(t *testing.T) {
	lower := []header{dir("./"), dir("d"), file("d/a"), file("d/b"), file("f"), symlink("l", "d")}
	for name, test := range map[string]struct {
		upper []header
		want  string
	}{
		"nothing":                     {nil, "/ /d/ /d/a=1 /d/b=1 /f=1 /l->d"},
		"whiteout of a file":          {[]header{file("d/.wh.a")}, "/ /d/ /d/b=1 /f=1 /l->d"},
		"whiteout of a folder":        {[]header{file(".wh.d")}, "/ /f=1 /l->d"},
		"whiteout of a link":          {[]header{file(".wh.l")}, "/ /d/ /d/a=1 /d/b=1 /f=1"},
		"whiteout of nothing":         {[]header{file("x/.wh.y"), file("f/.wh.y"), file("l/.wh.a")}, "/ /d/ /d/a=1 /d/b=1 /f=1 /l->d"},
		"opaque folder":               {[]header{dir("d"), file("d/.wh..wh..opq"), file("d/c")}, "/ /d/ /d/c=2 /f=1 /l->d"},
		"opaque last":                 {[]header{file("d/c"), file("d/.wh..wh..opq")}, "/ /d/ /d/c=2 /f=1 /l->d"},
		"opaque root":                 {[]header{file(".wh..wh..opq"), file("n")}, "/ /n=2"},
		"whiteout beside its new":     {[]header{file("d/a"), file("d/.wh.a")}, "/ /d/ /d/a=2 /d/b=1 /f=1 /l->d"},
		"folder in a removed's place": {[]header{file(".wh.d"), dir("d"), file("d/c")}, "/ /d/ /d/c=2 /f=1 /l->d"},
		"file over folder":            {[]header{file("d")}, "/ /d=2 /f=1 /l->d"},
		"folder over file":            {[]header{dir("f"), file("f/x")}, "/ /d/ /d/a=1 /d/b=1 /f/ /f/x=2 /l->d"},
		"folder over link":            {[]header{dir("l"), file("l/x")}, "/ /d/ /d/a=1 /d/b=1 /f=1 /l/ /l/x=2"},
		"link over folder":            {[]header{symlink("d", "f")}, "/ /d->f /f=1 /l->d"},
		"file over link":              {[]header{file("l")}, "/ /d/ /d/a=1 /d/b=1 /f=1 /l=2"},
		"behind a lower link":         {[]header{file("l/c"), file("l/n/m")}, "/ /d/ /d/a=1 /d/b=1 /d/c=2 /d/n/ /d/n/m=2 /f=1 /l->d"},
		"hard link to lower":          {[]header{hardlink("h", "d/a")}, "/ /d/ /d/a=1 /d/b=1 /f=1 /h=1 /l->d"},
		"hard link to its own":        {[]header{file("d/a"), hardlink("h", "./d/a"), file("d/a")}, "/ /d/ /d/a=2 /d/b=1 /f=1 /h=2 /l->d"},
		"absolute hard link":          {[]header{hardlink("h", "/f")}, "/ /d/ /d/a=1 /d/b=1 /f=1 /h=1 /l->d"},
		"hard link to a link":         {[]header{hardlink("h", "l")}, "/ /d/ /d/a=1 /d/b=1 /f=1 /h->d /l->d"},
		"no parents":                  {[]header{file("x/y/z")}, "/ /d/ /d/a=1 /d/b=1 /f=1 /l->d /x/ /x/y/ /x/y/z=2"},
		"twice":                       {[]header{file("n"), dir("n"), file("n/m"), dir("n/")}, "/ /d/ /d/a=1 /d/b=1 /f=1 /l->d /n/ /n/m=2"},
		"AUFS's own":                  {[]header{dir(".wh..wh.plnk"), file(".wh..wh.plnk/1.2"), file(".wh..wh.aufs")}, "/ /d/ /d/a=1 /d/b=1 /f=1 /l->d"},
		"FIFO":                        {[]header{{Name: "f", Typeflag: tar.TypeFifo}}, "/ /d/ /d/a=1 /d/b=1 /l->d"},
		"usual device":                {[]header{dir("dev"), {Name: "dev/null", Typeflag: tar.TypeChar, Devmajor: 1, Devminor: 3}}, "/ /d/ /d/a=1 /d/b=1 /dev/ /f=1 /l->d"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := lay(t, lower, test.upper)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestBadLayers(t *testing.T) {
	long := strings.Repeat("x", 256)
	for name, test := range map[string]struct {
		headers []header
		want    string
	}{
		"path leads out":             {[]header{file("../etc/passwd")}, "leads out of the image"},
		"path leads out later":       {[]header{file("a/../../etc/passwd")}, "leads out of the image"},
		"absolute path":              {[]header{file("/etc/passwd")}, "absolute path"},
		"file behind a link":         {[]header{symlink("l", "/etc"), file("l/passwd")}, "behind a symbolic link"},
		"file behind an inner link":  {[]header{dir("d"), symlink("l", "d"), file("l/x")}, "behind a symbolic link"},
		"hard link behind a link":    {[]header{symlink("l", "/etc"), hardlink("h", "l/passwd")}, "behind a symbolic link"},
		"hard link to outside":       {[]header{hardlink("h", "../../etc/passwd")}, "leads out of the image"},
		"hard link to nothing":       {[]header{hardlink("h", "missing")}, "which is not there"},
		"hard link to no folder":     {[]header{hardlink("h", "a/b")}, "there is no"},
		"hard link to a folder":      {[]header{dir("d"), hardlink("h", "d")}, "to the folder"},
		"hard link to the root":      {[]header{hardlink("h", "/")}, "not there"},
		"block device":               {[]header{{Name: "dev/sda", Typeflag: tar.TypeBlock, Devmajor: 8}}, "device node"},
		"character device":           {[]header{{Name: "dev/mem", Typeflag: tar.TypeChar, Devmajor: 1, Devminor: 1}}, "device node"},
		"usual device elsewhere":     {[]header{{Name: "null", Typeflag: tar.TypeChar, Devmajor: 1, Devminor: 3}}, "device node"},
		"overlay's whiteout":         {[]header{{Name: "gone", Typeflag: tar.TypeChar}}, "device node"},
		"file in a file":             {[]header{file("f"), file("f/x")}, "is a file"},
		"whiteout of nothing":        {[]header{file(".wh.")}, "whiteout of nothing"},
		"whiteout of the parent":     {[]header{file("d/.wh...")}, "whiteout of nothing"},
		"file below a whiteout":      {[]header{file(".wh.d/x")}, "below a whiteout"},
		"root is a file":             {[]header{file(".")}, "root is not a folder"},
		"name too long":              {[]header{file(long)}, "too long"},
		"path too long":              {[]header{file(strings.Repeat("d/", 2000) + "f")}, "too long"},
		"link without target":        {[]header{symlink("l", "")}, "a target"},
		"owner that can't be":        {[]header{{Name: "f", Typeflag: tar.TypeReg, Uid: 1 << 32}}, "belongs to user"},
		"capability that can't be":   {[]header{{Name: "f", Typeflag: tar.TypeReg, PAXRecords: map[string]string{"SCHILY.xattr.security.capability": "x"}}}, "capabilities"},
		"attribute that is too long": {[]header{{Name: "f", Typeflag: tar.TypeReg, PAXRecords: map[string]string{"SCHILY.xattr.user.a": strings.Repeat("x", 1<<17)}}}, "extended attributes"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := lay(t, test.headers)
			if err == nil || faas.KindOf(err) != faas.KindInvalid || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %q, %v; want %q", got, err, test.want)
			}
		})
	}
	// Links of lower layers that lead nowhere good.
	for target, want := range map[string]string{"../..": "leads out of the image", "nowhere": "there is no", "f": "is a file", "l": "too many"} {
		_, err := lay(t, []header{file("f"), symlink("l", target)}, []header{file("l/x")})
		if faas.KindOf(err) != faas.KindInvalid || err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("behind a link to %q: %v, want %q", target, err, want)
		}
	}
}

func TestMetadata(t *testing.T) {
	capability := "\x01\x00\x00\x02" + strings.Repeat("\x00", 16)
	entries := must(t, imagetest.Tar(t, map[string]string{"f": "text"}, header{
		Name: "f", Typeflag: tar.TypeReg, Mode: 0o6755, Uid: 1000, Gid: 1 << 20,
		PAXRecords: map[string]string{
			"SCHILY.xattr.security.capability": capability, "SCHILY.xattr.user.b": "2\x00", "SCHILY.xattr.user.a": "1",
			"SCHILY.xattr.trusted.overlay.opaque": "y", "SCHILY.xattr.security.selinux": "label",
		},
	}))
	want := tree.Node{
		Type: tree.File, Mode: 0o6755, UID: 1000, GID: 1 << 20, Size: 4, Capability: capability,
		Content: strings.TrimPrefix(imagetest.Digest([]byte("text")), "sha256:"),
		Xattrs:  tree.EncodeXattrs(map[string]string{"user.a": "1", "user.b": "2\x00"}),
	}
	if diff := cmp.Diff([]layer.Entry{{Path: "/f", Node: want}}, entries); diff != "" {
		t.Error(diff)
	}
	again, err := layer.Parse(layer.Text(entries))
	if diff := cmp.Diff(entries, again); err != nil || diff != "" {
		t.Error(err, diff)
	}
}
