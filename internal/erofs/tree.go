package erofs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"sort"
	"syscall"

	"golang.org/x/sys/unix"
)

// Options change what is written.
type Options struct {
	// Owner0 gives every file to user and group 0, for a tree that was
	// unpacked by someone who can't give files away.
	Owner0 bool
	// Directories are absolute paths of directories that the image has even
	// if the tree lacks them: mount points. Their mode is 0755, or 01777 for
	// /tmp.
	Directories []string
}

// A node is one inode. Hard links share it.
type node struct {
	index  int
	mode   uint16
	uid    uint32
	gid    uint32
	mtime  int64
	nlink  uint32
	device uint32
	size   int64
	block  int64 // of its first data block

	path     string // in the source tree; "" when the node has no source
	target   string // of a symbolic link
	parent   *node
	children []entry
}

type entry struct {
	name string
	node *node
}

func (n *node) isDir() bool { return n.mode&unix.S_IFMT == unix.S_IFDIR }

// A scan reads a tree into nodes, in the order of their inodes.
type scan struct {
	root  *os.Root
	opts  Options
	nodes []*node
	links map[[2]uint64]*node
}

func newScan(root *os.Root, opts Options) (*scan, error) {
	s := &scan{root: root, opts: opts, links: map[[2]uint64]*node{}}
	info, err := root.Stat(".")
	if err != nil {
		return nil, err
	}
	top := s.add(info, ".")
	top.parent = top
	if err := s.walk(top); err != nil {
		return nil, err
	}
	for _, dir := range opts.Directories {
		if err := s.ensure(top, dir); err != nil {
			return nil, err
		}
	}
	for _, n := range s.nodes {
		n.finish()
	}
	return s, nil
}

func (s *scan) walk(dir *node) error {
	f, err := s.root.Open(dir.path)
	if err != nil {
		return err
	}
	names, err := f.Readdirnames(-1)
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("read folder %q: %w", dir.path, err)
	}
	sort.Strings(names)
	for _, name := range names {
		if err := s.visit(dir, name); err != nil {
			return err
		}
	}
	return nil
}

func (s *scan) visit(dir *node, name string) error {
	if len(name) > maxName {
		return fmt.Errorf("file name %q is longer than %d bytes", name, maxName)
	}
	p := path.Join(dir.path, name)
	info, err := s.root.Lstat(p)
	if err != nil {
		return err
	}
	st := info.Sys().(*syscall.Stat_t)
	key := [2]uint64{st.Dev, st.Ino}
	if n := s.links[key]; n != nil && !info.IsDir() {
		n.nlink++
		dir.children = append(dir.children, entry{name, n})
		return nil
	}
	n := s.add(info, p)
	n.parent = dir
	s.links[key] = n
	dir.children = append(dir.children, entry{name, n})
	switch n.mode & unix.S_IFMT {
	case unix.S_IFDIR:
		return s.walk(n)
	case unix.S_IFLNK:
		n.target, err = s.root.Readlink(p)
		n.size = int64(len(n.target))
		return err
	case unix.S_IFREG:
		n.size = info.Size()
	}
	return nil
}

func (s *scan) add(info fs.FileInfo, p string) *node {
	st := info.Sys().(*syscall.Stat_t)
	n := &node{
		index: len(s.nodes), path: p, nlink: 1,
		mode: uint16(st.Mode), uid: st.Uid, gid: st.Gid, mtime: info.ModTime().Unix(),
	}
	if s.opts.Owner0 {
		n.uid, n.gid = 0, 0
	}
	if t := st.Mode & unix.S_IFMT; t == unix.S_IFCHR || t == unix.S_IFBLK {
		n.device = encodeDevice(unix.Major(st.Rdev), unix.Minor(st.Rdev))
	}
	s.nodes = append(s.nodes, n)
	return n
}

// encodeDevice is the kernel's new_encode_dev (include/linux/kdev_t.h).
func encodeDevice(major, minor uint32) uint32 {
	return minor&0xff | major<<8 | (minor&^0xff)<<12
}

// ensure makes the directories of p that are missing below top.
func (s *scan) ensure(top *node, p string) error {
	dir := top
	for _, name := range splitPath(p) {
		child := dir.child(name)
		if child == nil {
			child = &node{index: len(s.nodes), nlink: 1, mode: unix.S_IFDIR | 0o755, mtime: dir.mtime, parent: dir}
			if p == "/tmp" {
				child.mode = unix.S_IFDIR | 0o1777
			}
			s.nodes = append(s.nodes, child)
			dir.children = append(dir.children, entry{name, child})
		}
		if !child.isDir() {
			// A link may lead to a directory: leave it to whoever mounts there.
			if child.mode&unix.S_IFMT == unix.S_IFLNK {
				return nil
			}
			return fmt.Errorf("%q is not a directory in the tree, but it is needed as a mount point", p)
		}
		dir = child
	}
	return nil
}

func (n *node) child(name string) *node {
	for _, e := range n.children {
		if e.name == name {
			return e.node
		}
	}
	return nil
}

// finish computes what depends on all of a node's children.
func (n *node) finish() {
	if !n.isDir() {
		return
	}
	n.nlink = 2
	for _, e := range n.children {
		if e.node.isDir() {
			n.nlink++
		}
	}
	n.size = directorySize(n)
}

func splitPath(p string) []string {
	var names []string
	for dir := path.Clean("/" + p); dir != "/"; dir = path.Dir(dir) {
		names = append([]string{path.Base(dir)}, names...)
	}
	return names
}
