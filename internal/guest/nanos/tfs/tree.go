package tfs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// The longest name of a file, and the longest path, bytes: who opens a file by its
// path can't have more than 4096.
const (
	maxName = 255
	maxPath = 16 << 10
)

// A Tree is what [Builder.AddTree] adds.
type Tree struct {
	// Dir is the folder on the host.
	Dir string
	// Directories are absolute paths of folders that the volume has even if the
	// tree lacks them.
	Directories []string
}

// AddTree adds what is below a folder of the host. No symbolic link is
// followed, and nothing outside is read. Devices, sockets and pipes are left
// out: the kernel makes its own. The tree must not change meanwhile. ctx is
// asked between files.
func (b *Builder) AddTree(ctx context.Context, to Folder, t Tree) error {
	root, err := os.OpenRoot(t.Dir)
	if err != nil {
		return err
	}
	defer func() { _ = root.Close() }()
	a := &addition{Builder: b, ctx: ctx, links: map[[2]uint64]*File{}}
	for _, dir := range t.Directories {
		a.wanted = append(a.wanted, strings.Trim(path.Clean("/"+dir), "/"))
	}
	if err := a.folder(to, root, ""); err != nil {
		return fmt.Errorf("add %q to the volume: %w", t.Dir, err)
	}
	return nil
}

type addition struct {
	*Builder
	ctx    context.Context     // of AddTree alone
	wanted []string            // paths of folders, without a leading slash
	links  map[[2]uint64]*File // files with several names, by device and inode
}

// folder adds what is in a folder of the host, whose path in the tree is dir.
// Each folder is opened in the one above it: going down from the tree's root for
// each file would take the square of the depth.
func (a *addition) folder(to Folder, from *os.Root, dir string) error {
	f, err := from.Open(".")
	if err != nil {
		return err
	}
	names, err := f.Readdirnames(-1)
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("read folder %q: %w", dir, err)
	}
	slices.Sort(names)
	for _, name := range names {
		if err := a.add(to, from, dir, name); err != nil {
			return err
		}
	}
	return a.missing(to, dir, names)
}

// missing makes the folders that are wanted in dir and not among names.
func (a *addition) missing(to Folder, dir string, names []string) error {
	prefix := ""
	if dir != "" {
		prefix = dir + "/"
	}
	made := map[string]bool{}
	for _, p := range a.wanted {
		rest, below := strings.CutPrefix(p, prefix)
		first, _, _ := strings.Cut(rest, "/")
		if !below || first == "" || made[first] || slices.Contains(names, first) {
			continue
		}
		made[first] = true
		child, err := a.MakeFolder(to, first)
		if err == nil {
			err = a.missing(child, prefix+first, nil)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (a *addition) add(to Folder, from *os.Root, dir, name string) error {
	if err := a.ctx.Err(); err != nil {
		return err
	}
	if len(name) > maxName {
		return fmt.Errorf("file name %q is longer than %d bytes", name, maxName)
	}
	if len(dir)+2+len(name) > maxPath {
		return fmt.Errorf("the path of file %q is longer than %d bytes", name, maxPath)
	}
	info, err := from.Lstat(name)
	if err != nil {
		return err
	}
	switch st := info.Sys().(*syscall.Stat_t); st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		made, err := a.MakeFolder(to, name)
		if err != nil {
			return err
		}
		below, err := from.OpenRoot(name)
		if err != nil {
			return err
		}
		return errors.Join(a.folder(made, below, path.Join(dir, name)), below.Close())
	case unix.S_IFLNK:
		target, err := from.Readlink(name)
		if err != nil {
			return err
		}
		return a.MakeLink(to, name, target)
	case unix.S_IFREG:
		return a.file(to, from, name, st)
	}
	return nil
}

func (a *addition) file(to Folder, from *os.Root, name string, st *syscall.Stat_t) error {
	key := [2]uint64{st.Dev, st.Ino}
	if f := a.links[key]; f != nil {
		return a.LinkFile(to, name, f)
	}
	content, err := from.OpenFile(name, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer func() { _ = content.Close() }()
	f, err := a.MakeFile(to, name, content, st.Mtim.Sec)
	if err != nil {
		return fmt.Errorf("file %q: %w", name, err)
	}
	if st.Nlink > 1 {
		a.links[key] = f
	}
	return nil
}
