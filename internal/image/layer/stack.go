package layer

import (
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/unifaas/unifaas/internal/image/tree"
)

// A Stack is the root file system that layers, one on the other, make. Its
// zero value has none. It is not safe for concurrent use.
type Stack struct {
	root  *item
	layer int // number of the uppermost
}

// An item is one file, folder or link of a stack.
type item struct {
	node  tree.Node
	layer int // which layer put it here
	kids  map[string]*item
}

// Apply lays a layer on top. The stack is of no use after an error.
func (s *Stack) Apply(entries []Entry) error {
	if s.root == nil {
		s.root = &item{node: defaultDir}
	}
	s.layer++
	// A whiteout hides what is below, never what its own layer has, wherever
	// in the layer it is.
	for _, e := range entries {
		s.hide(e)
	}
	for _, e := range entries {
		if err := s.add(e); err != nil {
			return err
		}
	}
	return nil
}

// defaultDir is a folder that no layer mentions, though something is in it.
var defaultDir = tree.Node{Type: tree.Dir, Mode: 0o755}

// hide applies a whiteout. It follows no link: what is behind one has another
// path, which a whiteout of it would name.
func (s *Stack) hide(e Entry) {
	if e.Node.Type != Whiteout && e.Node.Type != Opaque {
		return
	}
	at := s.root
	dir, base := path.Split(e.Path)
	if e.Node.Type == Opaque {
		dir = e.Path
	}
	for part := range components(dir) {
		if at = at.kids[part]; at == nil {
			return
		}
	}
	if e.Node.Type == Opaque {
		at.kids = nil
	} else {
		delete(at.kids, base)
	}
}

func (s *Stack) add(e Entry) error {
	if e.Node.Type == Whiteout || e.Node.Type == Opaque {
		return nil
	}
	if e.Path == "/" {
		s.root.node, s.root.layer = e.Node, s.layer
		return nil
	}
	parent, err := s.parent(e.Path, true)
	if err != nil {
		return err
	}
	name := path.Base(e.Path)
	n := e.Node
	switch n.Type {
	case Nothing:
		delete(parent.kids, name)
		return nil
	case HardLink:
		if n, err = s.linked(e); err != nil {
			return err
		}
	}
	added := &item{node: n, layer: s.layer}
	if old := parent.kids[name]; old != nil && old.node.Type == tree.Dir && n.Type == tree.Dir {
		added.kids = old.kids
	}
	parent.put(name, added)
	return nil
}

func (i *item) put(name string, kid *item) {
	if i.kids == nil {
		i.kids = map[string]*item{}
	}
	i.kids[name] = kid
}

// linked returns what a hard link is another name of.
func (s *Stack) linked(e Entry) (tree.Node, error) {
	parent, err := s.parent(e.Node.Target, false)
	if err != nil {
		return tree.Node{}, invalid("hard link %q: %w", e.Path, err)
	}
	target := parent.kids[path.Base(e.Node.Target)]
	switch {
	case target == nil:
		return tree.Node{}, invalid("hard link %q is to %q, which is not there", e.Path, e.Node.Target)
	case target.node.Type == tree.Dir:
		return tree.Node{}, invalid("hard link %q is to the folder %q", e.Path, e.Node.Target)
	}
	return target.node, nil
}

// parent returns the folder that p is in. With create it makes folders that
// are missing.
//
// A symbolic link of a lower layer is followed: layers that are put on a base
// whose /lib is a link to usr/lib need that. One of the same layer is not: no
// archive of a real file system has a file behind a link.
func (s *Stack) parent(p string, create bool) (*item, error) {
	w := walk{stack: s, path: p, at: []*item{s.root}, create: create}
	for part := range components(path.Dir(p)) {
		if err := w.step(part); err != nil {
			return nil, err
		}
	}
	return w.here(), nil
}

// A walk goes down a path, and through the links on it.
type walk struct {
	stack  *Stack
	path   string
	at     []*item // the folders from the root to where it is
	links  int     // that have been followed
	inside int     // of how many links it is in the target now
	create bool
}

const maxLinks = 40 // as in Linux

func (w *walk) here() *item { return w.at[len(w.at)-1] }

func (w *walk) step(part string) error {
	if part == ".." {
		if len(w.at) == 1 {
			return invalid("%q leads out of the image through a symbolic link", w.path)
		}
		w.at = w.at[:len(w.at)-1]
		return nil
	}
	kid := w.here().kids[part]
	switch {
	case kid == nil && w.create && w.inside == 0:
		kid = &item{node: defaultDir, layer: w.stack.layer}
		w.here().put(part, kid)
	case kid == nil:
		return invalid("%q is in no folder: there is no %q", w.path, part)
	case kid.node.Type == tree.Symlink:
		return w.follow(kid)
	case kid.node.Type != tree.Dir:
		return invalid("%q is in no folder: %q is a file", w.path, part)
	}
	w.at = append(w.at, kid)
	return nil
}

func (w *walk) follow(link *item) error {
	if link.layer == w.stack.layer {
		return invalid("%q is behind a symbolic link to %q that the same layer made", w.path, link.node.Target)
	}
	if w.links++; w.links > maxLinks {
		return invalid("%q is behind too many symbolic links", w.path)
	}
	if strings.HasPrefix(link.node.Target, "/") {
		w.at = w.at[:1]
	}
	w.inside++
	for part := range components(link.node.Target) {
		if err := w.step(part); err != nil {
			return err
		}
	}
	w.inside--
	return nil
}

// components yields the parts of a path, without the empty ones and ".".
func components(p string) func(func(string) bool) {
	return func(yield func(string) bool) {
		for part := range strings.SplitSeq(p, "/") {
			if part != "" && part != "." && !yield(part) {
				return
			}
		}
	}
}

// Tree returns what the layers make. It can't fail: every item is in a folder.
func (s *Stack) Tree() (*tree.Tree, error) {
	t := tree.New()
	if s.root == nil {
		return t, nil
	}
	return t, s.root.flatten(t, "/")
}

func (i *item) flatten(t *tree.Tree, p string) error {
	if err := t.Add(p, i.node); err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(i.kids)) {
		if err := i.kids[name].flatten(t, path.Join(p, name)); err != nil {
			return err
		}
	}
	return nil
}
