package rofs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"sort"
	"strings"

	"golang.org/x/sys/unix"
)

// An Extra is a folder or a file that an image has whatever the tree holds.
type Extra struct {
	Path string // absolute and clean
	// Text is a file's content, in place of a file of the tree; "" makes a
	// folder, unless the tree has anything there.
	Text string
}

// An Edit replaces bytes of a file of the tree by as many others.
type Edit struct {
	Path  string // absolute and clean, no link in it
	At    int64
	Bytes []byte
}

// Changes are what an image has beside its tree, or instead.
type Changes struct {
	Extras []Extra
	// Edits are applied in their order. A file that has several names is edited
	// under all of them.
	Edits []Edit
}

// A node is one entry of a folder, or the root. An image may have a great many,
// so that it holds no more than it must.
type node struct {
	mode   uint32 // modeDir, modeFile or modeLink
	parent int32  // index of its folder
	first  int32  // index of a folder's first entry: they follow each other
	count  int32  // entries of a folder
	size   int64  // bytes of a file
	block  int64  // of a file's first data; a link's index in the table of targets
	name   string
	text   string // a link's target, or the content of an extra file
	extra  bool   // it comes from an Extra, not from the tree
	same   int32  // index of the first node that is the same file; 0 is none
}

// An identity is a file's device and number; the zero value is of one that has a
// single name.
type identity struct{ device, number uint64 }

// An entry is what a folder has under a name.
type entry struct {
	node
	identity identity
}

// A scan reads a tree into nodes, folder by folder: so the entries of each
// folder follow each other, and the node with index i has inode i+1 and is
// entry i-1 of the table.
type scan struct {
	root   *os.Root
	top    *os.File           // the root's folder
	extras map[string][]Extra // by the path of the folder in which they are
	nodes  []node
	links  int64              // symbolic links so far
	linked map[identity]int32 // files with several names, by their first node
}

func newScan(ctx context.Context, root *os.Root, top *os.File, extras []Extra) (*scan, error) {
	s := &scan{
		root: root, top: top, extras: byFolder(extras), linked: map[identity]int32{}, nodes: []node{{mode: modeDir}},
	}
	for i := 0; i < len(s.nodes); i++ { //nolint:intrange // the list grows meanwhile
		if s.nodes[i].mode != modeDir {
			continue
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if err := s.folder(int32(i)); err != nil {
			return nil, fmt.Errorf("read folder %q: %w", s.path(int32(i)), err)
		}
	}
	for _, e := range extras {
		if e.Text != "" && s.find(e.Path) == nil {
			return nil, fmt.Errorf("%q can't be put into the tree: a folder above it is a symbolic link", e.Path)
		}
	}
	return s, nil
}

// byFolder sorts extras by the folder that they are in, with the folders above.
func byFolder(extras []Extra) map[string][]Extra {
	all := map[string]Extra{}
	for _, e := range extras {
		for dir := path.Dir(e.Path); dir != "/"; dir = path.Dir(dir) {
			if _, ok := all[dir]; !ok {
				all[dir] = Extra{Path: dir}
			}
		}
		all[e.Path] = e
	}
	sorted := map[string][]Extra{}
	for p, e := range all {
		sorted[path.Dir(p)] = append(sorted[path.Dir(p)], e)
	}
	return sorted
}

// path returns the absolute path of a node.
func (s *scan) path(i int32) string {
	var names []string
	for ; i != 0; i = s.nodes[i].parent {
		names = append(names, s.nodes[i].name)
	}
	var b strings.Builder
	for n := len(names) - 1; n >= 0; n-- {
		b.WriteByte('/')
		b.WriteString(names[n])
	}
	if b.Len() == 0 {
		return "/"
	}
	return b.String()
}

// find returns the node at an absolute path, nil when there is none.
func (s *scan) find(p string) *node {
	at := &s.nodes[0]
	for name := range strings.SplitSeq(strings.Trim(p, "/"), "/") {
		children := s.nodes[at.first : at.first+at.count]
		i := sort.Search(len(children), func(i int) bool { return children[i].name >= name })
		if i == len(children) || children[i].name != name {
			return nil
		}
		at = &children[i]
	}
	return at
}

// relative is path as a root takes it.
func relative(p string) string {
	if p == "/" {
		return "."
	}
	return p[1:]
}

// folder adds the entries of the folder with index at.
func (s *scan) folder(at int32) error {
	p := s.path(at)
	entries := map[string]entry{}
	if !s.nodes[at].extra {
		if err := s.read(p, entries); err != nil {
			return err
		}
	}
	for _, e := range s.extras[p] {
		if err := add(entries, e); err != nil {
			return err
		}
	}
	names := make([]string, 0, len(entries))
	for name := range entries {
		names = append(names, name)
	}
	sort.Strings(names)
	s.nodes[at].first, s.nodes[at].count = int32(len(s.nodes)), int32(len(names))
	for _, name := range names {
		s.append(entries[name], name, at)
	}
	if len(s.nodes) > maxNodes {
		return fmt.Errorf("the tree has more than %d files", maxNodes)
	}
	return nil
}

// append adds an entry of the folder with index parent. A file that was there
// under another name shares its blocks, but has an inode of its own: so no
// reader has to expect that a number comes twice.
func (s *scan) append(e entry, name string, parent int32) {
	n := e.node
	n.name, n.parent = name, parent
	if n.mode == modeLink {
		n.block = s.links
		s.links++
	}
	if e.identity != (identity{}) {
		var known bool
		if n.same, known = s.linked[e.identity]; !known {
			s.linked[e.identity] = int32(len(s.nodes))
		}
	}
	s.nodes = append(s.nodes, n)
}

// maxNodes keeps indices within their 32 bits.
const maxNodes = 1 << 30

// add puts an extra among a folder's entries.
func add(entries map[string]entry, e Extra) error {
	name := path.Base(e.Path)
	old, exists := entries[name]
	switch {
	case e.Text != "" && exists && old.mode == modeDir:
		return fmt.Errorf("%q is a folder in the tree, and has to be a file", e.Path)
	case e.Text != "":
		entries[name] = entry{node: node{mode: modeFile, size: int64(len(e.Text)), text: e.Text, extra: true}}
	case !exists:
		entries[name] = entry{node: node{mode: modeDir, extra: true}}
	case old.mode == modeFile:
		return fmt.Errorf("%q is a file in the tree, and has to be a folder", e.Path)
	}
	return nil
}

// open opens what is at a path of the tree, no link followed. By most paths the kernel
// gets there at once: to go down from the root folder by folder, for each file,
// takes the square of the depth.
func (s *scan) open(p string, flags int) (*os.File, error) {
	fd, err := unix.Openat2(int(s.top.Fd()), p, &unix.OpenHow{
		Flags: uint64(unix.O_RDONLY | unix.O_CLOEXEC | unix.O_NOFOLLOW | flags), Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS,
	})
	if err == nil {
		return os.NewFile(uintptr(fd), p), nil
	}
	if errors.Is(err, unix.ENAMETOOLONG) || errors.Is(err, unix.ENOSYS) { // a long path, an old kernel
		return s.root.OpenFile(p, os.O_RDONLY|unix.O_NOFOLLOW|flags, 0)
	}
	return nil, &os.PathError{Op: "open", Path: p, Err: err}
}

// read reads the folder of the tree at p.
func (s *scan) read(p string, entries map[string]entry) error {
	f, err := s.open(relative(p), unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	names, err := f.Readdirnames(-1)
	if err != nil {
		return err
	}
	for _, name := range names {
		e, ok, err := examine(int(f.Fd()), name)
		if err != nil {
			return fmt.Errorf("%q: %w", name, err)
		}
		if ok {
			entries[name] = e
		}
	}
	return nil
}

// examine returns what has that name in the opened folder. Devices, pipes and
// sockets, for which ROFS has no form, are left out.
func examine(folder int, name string) (e entry, ok bool, err error) {
	if len(name) > maxName {
		return e, false, fmt.Errorf("its name is longer than %d bytes", maxName)
	}
	var st unix.Stat_t
	if err := unix.Fstatat(folder, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return e, false, err
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		e.mode = modeDir
	case unix.S_IFREG:
		e.mode, e.size = modeFile, st.Size
		if st.Nlink > 1 {
			e.identity = identity{st.Dev, st.Ino}
		}
	case unix.S_IFLNK:
		e.mode = modeLink
		e.text, err = readLink(folder, name)
	default:
		return e, false, nil
	}
	return e, err == nil, err
}

func readLink(folder int, name string) (string, error) {
	b := make([]byte, maxTarget+1)
	n, err := unix.Readlinkat(folder, name, b)
	if err == nil && n > maxTarget {
		err = errors.New("its target is too long")
	}
	if err != nil {
		return "", err
	}
	return string(b[:n]), nil
}
