package image

import (
	"context"
	"io"
	"os"
	"path"
	"runtime"
	"sort"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/unifaas/unifaas/internal/faas"
	"github.com/unifaas/unifaas/internal/image/cas"
	"github.com/unifaas/unifaas/internal/image/tree"
)

// A walker takes a folder of the host into an assembly. All it opens it opens
// below that folder, by os.Root: a path that is swapped for a link meanwhile
// leads nowhere else.
type walker struct {
	a       *assembly
	outside string
	inside  string
	root    *os.Root
	system  bool // a whole system: owners, set-id bits and capabilities are kept, as far as we may
	files   []pending
}

// pending is a regular file whose content has yet to be read.
type pending struct {
	rel  string
	node tree.Node
	id   identity
}

// addTree puts the folder outside at inside. With system it is a whole root
// file system, else files of an application, which belong to root.
func (a *assembly) addTree(ctx context.Context, inside, outside string, system bool) error {
	root, err := os.OpenRoot(outside)
	if err != nil {
		return faas.Errorf(faas.KindInvalid, "read folder of the image: %w", err)
	}
	a.closes = append(a.closes, root)
	w := &walker{a: a, outside: outside, inside: inside, root: root, system: system && a.root}
	info, err := root.Lstat(".")
	if err != nil {
		return faas.Errorf(faas.KindInvalid, "read folder of the image: %w", err)
	}
	if err := w.dir(ctx, root, ".", statOf(info)); err != nil {
		return err
	}
	return w.readFiles(ctx)
}

func statOf(info os.FileInfo) *unix.Stat_t {
	// os documents no way to get at the times and the owner but this.
	st, ok := info.Sys().(*sysStat)
	if !ok {
		return &unix.Stat_t{}
	}
	return convertStat(st)
}

// dir takes the folder rel, which dir is open on. Its identity st is checked
// so that it is what was seen in its parent.
func (w *walker) dir(ctx context.Context, dir *os.Root, rel string, st *unix.Stat_t) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	f, err := dir.Open(".")
	if err != nil {
		return w.failed(rel, err)
	}
	defer f.Close()
	now, err := fstat(f)
	if err != nil {
		return w.failed(rel, err)
	}
	if now.Dev != st.Dev || now.Ino != st.Ino {
		return errChanged(path.Join(w.outside, rel))
	}
	if err := w.put(rel, w.node(tree.Dir, &now)); err != nil {
		return err
	}
	w.checkDir(rel, identityOf(&now))
	names, err := f.Readdirnames(-1)
	if err != nil {
		return w.failed(rel, err)
	}
	sort.Strings(names)
	for _, name := range names {
		if err := w.entry(ctx, dir, path.Join(rel, name), name, &now); err != nil {
			return err
		}
	}
	return nil
}

func (w *walker) entry(ctx context.Context, dir *os.Root, rel, name string, parent *unix.Stat_t) error {
	info, err := dir.Lstat(name)
	if err != nil {
		return w.failed(rel, err)
	}
	st := statOf(info)
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		w.files = append(w.files, pending{rel, w.node(tree.File, st), identityOf(st)})
		return nil
	case unix.S_IFDIR:
		return w.subdir(ctx, dir, rel, name, st, parent)
	case unix.S_IFLNK:
		target, err := dir.Readlink(name)
		if err != nil {
			return w.failed(rel, err)
		}
		n := w.node(tree.Symlink, st)
		n.Target = target
		return w.put(rel, n)
	case unix.S_IFCHR, unix.S_IFBLK:
		if top, _ := topFolder(rel); w.inside == "/" && top == "dev" {
			return nil // the sandbox has devices of its own there
		}
		return faas.Errorf(faas.KindInvalid, "%q is a device; an image may have them below /dev only, where they are left out",
			path.Join(w.outside, rel))
	default:
		return nil // sockets and FIFOs are of processes, not of an image
	}
}

func (w *walker) subdir(ctx context.Context, dir *os.Root, rel, name string, st, parent *unix.Stat_t) error {
	sub, err := dir.OpenRoot(name)
	if err != nil {
		return w.failed(rel, err)
	}
	defer func() { _ = sub.Close() }()
	if st.Dev != parent.Dev {
		pseudo, err := isPseudo(sub)
		if err != nil {
			return w.failed(rel, err)
		}
		if pseudo {
			return w.put(rel, w.node(tree.Dir, st))
		}
	}
	return w.dir(ctx, sub, rel, st)
}

// node describes what st is of.
func (w *walker) node(t tree.Type, st *unix.Stat_t) tree.Node {
	n := tree.Node{Type: t, Mode: st.Mode & 0o777}
	if w.system {
		n.Mode, n.UID, n.GID = st.Mode&0o7777, st.Uid, st.Gid
	} else if t == tree.Dir {
		n.Mode |= st.Mode & 0o1000 // a sticky folder harms nobody
	}
	switch t {
	case tree.Symlink:
		n.Mode = 0
	case tree.File:
		n.MTime = st.Mtim.Sec
	}
	return n
}

func (w *walker) put(rel string, n tree.Node) error {
	return w.a.put(path.Join(w.inside, rel), n)
}

func (w *walker) failed(rel string, err error) error {
	return faas.Errorf(faas.KindInvalid, "read %q for the image: %w", path.Join(w.outside, rel), err)
}

func topFolder(rel string) (string, bool) {
	for i := range len(rel) {
		if rel[i] == '/' {
			return rel[:i], true
		}
	}
	return rel, false
}

// checkDir makes verify see that something came or went.
func (w *walker) checkDir(rel string, id identity) {
	w.a.checks = append(w.a.checks, func() error {
		info, err := w.root.Lstat(rel)
		if err != nil || identityOf(statOf(info)) != id {
			return errChanged(path.Join(w.outside, rel))
		}
		return nil
	})
}

// readFiles reads what the walk has found, several files at the same time.
func (w *walker) readFiles(ctx context.Context) error {
	read := make([]content, len(w.files))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0))
	for i, p := range w.files {
		g.Go(func() (err error) {
			if err = ctx.Err(); err == nil {
				read[i], err = w.readFile(ctx, p)
			}
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	for i, p := range w.files {
		p.node.Content, p.node.Size = read[i].digest, read[i].size
		if w.system {
			p.node.Capability = read[i].capability
		}
		if err := w.put(p.rel, p.node); err != nil {
			return err
		}
	}
	return nil
}

func (w *walker) readFile(ctx context.Context, p pending) (content, error) {
	open := func() (*os.File, error) {
		return w.root.OpenFile(p.rel, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOFOLLOW, 0)
	}
	f, err := reopen(p.id, open)()
	if err != nil {
		return content{}, err
	}
	defer f.Close()
	c, err := w.a.store.contents.get(ctx, f.(*os.File), p.id)
	if err != nil {
		return content{}, err
	}
	w.a.provide(c.digest, cas.Opener(func() (io.ReadCloser, error) { return reopen(p.id, open)() }), func() error {
		info, err := w.root.Lstat(p.rel)
		if err != nil || identityOf(statOf(info)) != p.id {
			return errChanged(path.Join(w.outside, p.rel))
		}
		return nil
	})
	return c, nil
}
