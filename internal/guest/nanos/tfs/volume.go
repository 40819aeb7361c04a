package tfs

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
)

// A Volume is one that was read. It is for concurrent use once it is open.
type Volume struct {
	ID    [16]byte
	Label string

	r    io.ReaderAt
	size int64 // bytes
	root *tuple
	play *player
	end  int64 // first sector behind everything that has a place
	// nodes are those that Open has read, allExtents how many these have together;
	// neither is changed afterwards.
	nodes      map[*tuple]Node
	allExtents int
}

// Open reads a volume of size bytes: its log, not its files. A volume that is
// damaged is an error, here or where what is damaged is read.
func Open(r io.ReaderAt, size int64) (*Volume, error) {
	p := &player{r: r, sectors: size / SectorSize, seen: map[int64]bool{}}
	if err := p.play(); err != nil {
		return nil, fmt.Errorf("read TFS: %w", err)
	}
	v := &Volume{ID: p.id, Label: p.label, r: r, size: size, play: p, end: p.end, nodes: map[*tuple]Node{}}
	if len(p.numbers) > 0 {
		v.root, _ = p.numbers[0].(*tuple)
	}
	if v.root == nil {
		return nil, errors.New("read TFS: the log tells of no root")
	}
	err := v.Walk(func(_ string, n Node) error {
		v.nodes[n.tuple] = n
		for _, e := range n.extents {
			v.end = max(v.end, e.sector+e.allocated)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read TFS: %w", err)
	}
	return v, nil
}

// Attributes returns the manifest: what is set on the root beside its content.
func (v *Volume) Attributes() (Tuple, error) {
	return export(v.root, map[*tuple]bool{}, 0)
}

// maxNested is how deep a manifest's tuples may be in each other: a kernel knows of
// three or four.
const maxNested = 64

// export copies a tuple of the log. seen are those that were copied: one that
// is part of two could be of a billion.
func export(t *tuple, seen map[*tuple]bool, depth int) (Tuple, error) {
	if seen[t] {
		return nil, errors.New("a tuple is in two places")
	}
	if depth > maxNested {
		return nil, fmt.Errorf("its tuples are nested more than %d deep", maxNested)
	}
	seen[t] = true
	var out Tuple
	for _, a := range t.attributes {
		if depth == 0 && a.name == attrChildren { // the files are no manifest
			continue
		}
		switch value := a.value.(type) {
		case string:
			out = append(out, Attribute{a.name, value})
		case *tuple:
			inner, err := export(value, seen, depth+1)
			if err != nil {
				return nil, fmt.Errorf("%.200q: %w", a.name, err)
			}
			out = append(out, Attribute{a.name, inner})
		}
	}
	return out, nil
}

// A Type is that of a node.
type Type int

// The types.
const (
	FileType Type = iota
	FolderType
	LinkType
)

// A Node is a file, a folder or a symbolic link.
type Node struct {
	Type     Type
	Size     int64  // of a file, bytes
	Modified int64  // seconds since 1970; 0 is not told
	Target   string // of a link

	volume  *Volume
	tuple   *tuple
	extents []extent // in the order of the file
}

// Same tells whether two nodes are names of one file.
func (n Node) Same(m Node) bool { return n.tuple == m.tuple }

// maxSize keeps positions in files within what can be calculated with.
const maxSize = 1 << 60

func (v *Volume) node(t *tuple) (Node, error) {
	if n, ok := v.nodes[t]; ok {
		return n, nil
	}
	n := Node{volume: v, tuple: t}
	target, isLink := t.string(attrLinkTarget)
	switch {
	case t.tuple(attrChildren) != nil:
		n.Type = FolderType
		return n, nil
	case isLink:
		n.Type, n.Target = LinkType, target
		return n, nil
	}
	if text, ok := t.string(attrModified); ok {
		modified, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			return n, fmt.Errorf("its %q is no number", attrModified)
		}
		n.Modified = int64(modified >> 32)
	}
	var err error
	if t.get(attrFileLength) != nil {
		if n.Size, err = t.number(attrFileLength, maxSize); err != nil {
			return n, err
		}
	}
	n.extents, err = v.extents(t.tuple(attrExtents))
	return n, err
}

func (v *Volume) extents(t *tuple) ([]extent, error) {
	if t == nil {
		return nil, nil
	}
	// Files may have the same ones.
	if v.allExtents += len(t.attributes); v.allExtents > maxValues {
		return nil, fmt.Errorf("its files have more than %d extents", maxValues)
	}
	var all []extent
	for _, at := range t.names() {
		e, err := v.extent(at, t.tuple(at))
		if err != nil {
			return nil, fmt.Errorf("extent at %q: %w", at, err)
		}
		all = append(all, e)
	}
	slices.SortFunc(all, func(a, b extent) int { return int(min(max(a.file-b.file, -1), 1)) })
	for i := 1; i < len(all); i++ {
		if all[i-1].file+all[i-1].length > all[i].file {
			return nil, fmt.Errorf("the extents at %d and %d overlap", all[i-1].file, all[i].file)
		}
	}
	return all, nil
}

func (v *Volume) extent(at string, t *tuple) (e extent, err error) {
	if t == nil {
		return e, errors.New("it is no tuple")
	}
	if e.file, err = strconv.ParseInt(at, 10, 64); err != nil || e.file < 0 || e.file > maxSize/SectorSize {
		return e, errors.New("it begins at no sector of a file")
	}
	sectors := v.size / SectorSize
	if e.length, err = t.number(attrLength, sectors); err != nil {
		return e, err
	}
	if e.sector, err = t.number(attrOffset, sectors); err != nil {
		return e, err
	}
	if e.allocated, err = t.number(attrAllocated, sectors); err != nil {
		return e, err
	}
	if e.length > e.allocated || e.sector+e.allocated > sectors {
		return e, fmt.Errorf("its sectors (%d from %d on, of which %d are used) are not all in the volume's %d", e.allocated, e.sector, e.length, sectors)
	}
	if t.get(attrUnwritten) != nil {
		e.length = 0
	}
	return e, nil
}

// Root returns the root folder.
func (v *Volume) Root() (Node, error) { return v.node(v.root) }

// An Entry is a node in a folder.
type Entry struct {
	Name string
	Node
}

// Entries returns a folder's, in the order of their names.
func (n Node) Entries() ([]Entry, error) {
	children := n.tuple.tuple(attrChildren)
	if children == nil {
		return nil, nil
	}
	var all []Entry
	for _, name := range children.names() {
		t := children.tuple(name)
		if t == nil {
			return nil, fmt.Errorf("entry %q is no tuple", name)
		}
		child, err := n.volume.node(t)
		if err != nil {
			return nil, fmt.Errorf("entry %q: %w", name, err)
		}
		all = append(all, Entry{name, child})
	}
	return all, nil
}

// Walk calls f for each node, folders first and otherwise in the order of the
// names. The root's path is "/". It ends with the first error of f and returns
// that.
func (v *Volume) Walk(f func(p string, n Node) error) error {
	root, err := v.Root()
	if err != nil {
		return err
	}
	return walk("", root, map[*tuple]bool{}, f)
}

// walk calls f for what is at p and below. seen are the folders that it was in:
// one that is in two places could be in a billion.
func walk(p string, n Node, seen map[*tuple]bool, f func(string, Node) error) error {
	if err := f(max(p, "/"), n); err != nil {
		return err
	}
	if n.Type != FolderType {
		return nil
	}
	children := n.tuple.tuple(attrChildren)
	if seen[children] {
		return fmt.Errorf("folder %.200q is in another place, too", p)
	}
	seen[children] = true
	entries, err := n.Entries()
	if err != nil {
		return fmt.Errorf("folder %.200q: %w", p, err)
	}
	for _, e := range entries {
		if len(p)+1+len(e.Name) > maxPath {
			return fmt.Errorf("a path in it is longer than %d bytes", maxPath)
		}
		if err := walk(p+"/"+e.Name, e.Node, seen, f); err != nil {
			return err
		}
	}
	return nil
}

// ReadAt reads a file's content.
func (n Node) ReadAt(b []byte, at int64) (int, error) {
	if at < 0 || at >= n.Size {
		return 0, io.EOF
	}
	want := b[:min(int64(len(b)), n.Size-at)]
	clear(want)
	i, _ := slices.BinarySearchFunc(n.extents, at, func(e extent, at int64) int {
		if (e.file+e.length)*SectorSize <= at {
			return -1
		}
		return 1
	})
	for _, e := range n.extents[i:] {
		from, to := max(e.file*SectorSize, at), min((e.file+e.length)*SectorSize, at+int64(len(want)))
		if from >= to {
			break
		}
		part := want[from-at : to-at]
		if _, err := n.volume.r.ReadAt(part, e.sector*SectorSize+from-e.file*SectorSize); err != nil {
			return 0, fmt.Errorf("read sectors from %d on: %w", e.sector, noEnd(err))
		}
	}
	if len(want) < len(b) {
		return len(want), io.EOF
	}
	return len(want), nil
}

// noEnd is the error of a read that must not end.
func noEnd(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// Content returns a reader of a file's content.
func (n Node) Content() *io.SectionReader { return io.NewSectionReader(n, 0, n.Size) }
