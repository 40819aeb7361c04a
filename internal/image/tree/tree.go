// Package tree describes a root file system as data: what is in it, without
// the disk. A tree has one canonical text, and its SHA-256 names the tree.
//
// It knows nothing of where content comes from or is kept.
package tree

import (
	"errors"
	"fmt"
	"path"
	"sort"
	"strings"
	"sync/atomic"
)

// Type is the type of a node.
type Type byte

// The types of nodes. Their values are the letters of the canonical text.
const (
	Dir     Type = 'd'
	File    Type = 'f'
	Symlink Type = 'l'
)

// A Node is one file, folder or symbolic link.
type Node struct {
	Type  Type
	Mode  uint32 // permission bits and set-id bits, as in chmod(2); 0 for a Symlink
	UID   uint32
	GID   uint32
	MTime int64 // seconds since 1970; 0 for a Dir

	// Only of a File.
	Content string // SHA-256 in hexadecimal
	Size    int64  // bytes
	// Capability is the value of the extended attribute
	// "security.capability", or empty.
	Capability string

	// Xattrs are the other extended attributes of a File or a Dir, as
	// [EncodeXattrs] writes them.
	Xattrs string

	Target string // only of a Symlink
}

// A Tree is a root file system that is being put together. While nobody
// changes it, several may read it at the same time. Folders that a path needs appear by themselves, mode 0755.
type Tree struct {
	nodes  map[string]Node          // by clean path without the leading slash; "" is the root
	sorted atomic.Pointer[[]string] // the names in order; nil when that has to be made anew
}

// New returns a tree that holds its root only.
func New() *Tree {
	return &Tree{nodes: map[string]Node{"": {Type: Dir, Mode: 0o755}}}
}

// maxLinks is how many symbolic links one path may go through, as in Linux.
const maxLinks = 40

var errLoop = errors.New("too many levels of symbolic links")

// Put sets the node at p, an absolute path, and returns the path where it
// went: symbolic links of the tree in p's parents are followed inside the
// tree, never out of it. A folder put on a folder changes its metadata; a
// file or link replaces a file or link; other replacements are errors.
func (t *Tree) Put(p string, n Node) (string, error) {
	dir, err := t.makeDir(path.Dir(path.Clean("/"+p)), 0)
	if err != nil {
		return "", fmt.Errorf("put %q into the tree: %w", p, err)
	}
	name := path.Join(dir, path.Base(path.Clean("/"+p)))
	if name == "." || name == "/" {
		name = ""
	}
	old, exists := t.nodes[name]
	switch {
	case !exists, old.Type == n.Type, old.Type != Dir && n.Type != Dir:
		t.set(name, n)
	case n.Type == Dir && old.Type == Symlink:
		// A folder laid over a link to a folder goes where the link leads.
		at, err := t.makeDir("/"+name, 0)
		if err != nil {
			return "", fmt.Errorf("put %q into the tree: %w", p, err)
		}
		t.set(at, n)
		name = at
	default:
		return "", fmt.Errorf("put %q into the tree: there is a %s already", p, old.Type)
	}
	return "/" + name, nil
}

// Lookup returns the node at p, with the links in p's parents followed.
func (t *Tree) Lookup(p string) (Node, bool) {
	at, err := t.resolve(path.Clean("/"+p), 0, false)
	if err != nil {
		return Node{}, false
	}
	n, ok := t.nodes[at]
	return n, ok
}

// Has reports whether there is anything at p.
func (t *Tree) Has(p string) bool { _, ok := t.Lookup(p); return ok }

// Len is the number of nodes, with the root.
func (t *Tree) Len() int { return len(t.nodes) }

// Walk calls f for each node in the order of their paths, parents first. The
// root's path is "/". It ends with the first error of f and returns that.
func (t *Tree) Walk(f func(p string, n Node) error) error {
	for _, name := range t.names() {
		if err := f("/"+name, t.nodes[name]); err != nil {
			return err
		}
	}
	return nil
}

func (t *Tree) names() []string {
	if sorted := t.sorted.Load(); sorted != nil {
		return *sorted
	}
	names := make([]string, 0, len(t.nodes))
	for name := range t.nodes {
		names = append(names, name)
	}
	sort.Strings(names)
	t.sorted.Store(&names)
	return names
}

func (t *Tree) set(name string, n Node) {
	t.nodes[name] = n
	t.sorted.Store(nil)
}

// Add sets the node at p, an absolute clean path whose parent is a folder of
// the tree already. It follows no link, and is faster than Put.
func (t *Tree) Add(p string, n Node) error {
	name := strings.TrimPrefix(p, "/")
	if t.nodes[parent(name)].Type != Dir {
		return fmt.Errorf("add %q to the tree: it is in no folder", p)
	}
	t.set(name, n)
	return nil
}

// ReplaceByDir makes an empty folder of what is at p, an absolute clean path,
// unless that is a folder.
func (t *Tree) ReplaceByDir(p string, n Node) error {
	if old, ok := t.nodes[strings.TrimPrefix(p, "/")]; ok && old.Type == Dir {
		return nil
	}
	return t.Add(p, n)
}

// makeDir returns the name of the folder at p, made where it is missing.
func (t *Tree) makeDir(p string, links int) (string, error) {
	at, err := t.resolve(p, links, true)
	if err != nil {
		return "", err
	}
	if n := t.nodes[at]; n.Type != Dir {
		return "", fmt.Errorf("%q is a %s, not a folder", "/"+at, n.Type)
	}
	return at, nil
}

// resolve walks p as chroot would. With create it makes missing folders and
// follows a link in the last place; without, it fails and does not.
func (t *Tree) resolve(p string, links int, create bool) (string, error) {
	at := ""
	parts := strings.Split(strings.Trim(p, "/"), "/")
	for len(parts) > 0 {
		part := parts[0]
		parts = parts[1:]
		switch part {
		case "", ".":
			continue
		case "..":
			at = parent(at)
			continue
		}
		next := strings.TrimPrefix(at+"/"+part, "/")
		n, ok := t.nodes[next]
		switch {
		case !ok && create:
			t.set(next, Node{Type: Dir, Mode: 0o755})
		case !ok:
			return "", errors.New("no such node")
		case n.Type == Symlink && (create || len(parts) > 0):
			if links++; links > maxLinks {
				return "", errLoop
			}
			if strings.HasPrefix(n.Target, "/") {
				at = ""
			}
			parts = append(strings.Split(n.Target, "/"), parts...)
			continue
		case n.Type != Dir && len(parts) > 0:
			return "", fmt.Errorf("%q is a %s, not a folder", "/"+next, n.Type)
		}
		at = next
	}
	return at, nil
}

func parent(name string) string {
	if i := strings.LastIndexByte(name, '/'); i >= 0 {
		return name[:i]
	}
	return ""
}

func (t Type) String() string {
	switch t {
	case Dir:
		return "folder"
	case File:
		return "file"
	default:
		return "symbolic link"
	}
}
