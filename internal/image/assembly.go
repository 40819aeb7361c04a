package image

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/unifaas/unifaas/internal/faas"
	"github.com/unifaas/unifaas/internal/image/cas"
	"github.com/unifaas/unifaas/internal/image/tree"
)

// An assembly is one root file system that is being put together: the tree,
// where its content comes from, and what must not have changed meanwhile.
type assembly struct {
	store *Store
	root  bool
	tree  *tree.Tree
	// base is the digest of a tree in the store that the root file system
	// begins with, "" for none.
	base string

	mu     sync.Mutex
	open   map[string]cas.Opener // by content
	checks []func() error
	closes []io.Closer
}

func (s *Store) newAssembly() *assembly {
	return &assembly{store: s, root: os.Geteuid() == 0, tree: tree.New(), open: map[string]cas.Opener{}}
}

func (a *assembly) close() {
	for _, c := range a.closes {
		_ = c.Close() // opened for reading only
	}
}

func (a *assembly) opener(content string) cas.Opener {
	a.mu.Lock()
	defer a.mu.Unlock()
	if open, ok := a.open[content]; ok {
		return open
	}
	return missing(content).open // of base
}

// commit makes the root file system exist and returns its tree's digest.
func (a *assembly) commit(ctx context.Context, files map[string]string) (string, error) {
	if a.base != "" {
		if len(files) == 0 {
			return a.base, nil
		}
		hold, err := a.store.cas.Hold(ctx)
		if err != nil {
			return "", err
		}
		defer hold.Close()
		if a.tree, err = a.store.cas.Manifest(a.base); err != nil {
			return "", err
		}
	}
	if err := a.addFiles(ctx, files); err != nil {
		return "", err
	}
	if err := a.verify(); err != nil {
		return "", err
	}
	digest, err := a.store.cas.Commit(ctx, a.tree, a.opener, a.verify)
	if err == nil && a.base != "" {
		err = a.store.setBase(ctx, digest, a.base)
	}
	return digest, err
}

// baseKind is the kind of the records that name, by a tree, the tree of the
// image that it is made of.
func baseKind() string { return "bases" + plainSuffix() }

func (s *Store) setBase(ctx context.Context, tree, base string) error {
	if known, err := s.cas.Record(baseKind(), tree); err == nil && string(known) == base {
		return nil
	}
	return s.cas.PutRecord(ctx, baseKind(), tree, []byte(base))
}

// verify returns an error when something that was read has changed since.
func (a *assembly) verify() error {
	for _, check := range a.checks {
		if err := check(); err != nil {
			return err
		}
	}
	return nil
}

// provide tells where content is to be had, and how to see that it is still
// the same.
func (a *assembly) provide(content string, open cas.Opener, check func() error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.open[content] = open
	a.checks = append(a.checks, check)
}

// read takes the content of a regular file of the host into account. Symbolic
// links are followed: the path is the operator's.
func (a *assembly) read(ctx context.Context, name string) (content, error) {
	c, _, err := a.readStat(ctx, name)
	return c, err
}

func (a *assembly) readStat(ctx context.Context, name string) (content, unix.Stat_t, error) {
	f, st, err := openRegular(func() (*os.File, error) {
		return os.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK, 0)
	})
	if err != nil {
		return content{}, st, err
	}
	defer f.Close()
	id := identityOf(&st)
	c, err := a.store.contents.get(ctx, f, id)
	if err != nil {
		return content{}, st, err
	}
	a.provide(c.digest, reopen(id, func() (*os.File, error) {
		return os.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK, 0)
	}), func() error {
		var now unix.Stat_t
		if err := unix.Stat(name, &now); err != nil || identityOf(&now) != id {
			return errChanged(name)
		}
		return nil
	})
	return c, st, nil
}

// openRegular opens a file that must be a regular one.
func openRegular(open func() (*os.File, error)) (*os.File, unix.Stat_t, error) {
	f, err := open()
	if err != nil {
		return nil, unix.Stat_t{}, faas.Errorf(faas.KindInvalid, "read file of the image: %w", err)
	}
	st, err := fstat(f)
	if err == nil && st.Mode&unix.S_IFMT != unix.S_IFREG {
		err = faas.Errorf(faas.KindInvalid, "%q is no regular file", f.Name())
	}
	if err != nil {
		f.Close()
		return nil, st, err
	}
	return f, st, nil
}

// reopen returns an opener that refuses another file than the one with id.
func reopen(id identity, open func() (*os.File, error)) cas.Opener {
	return func() (io.ReadCloser, error) {
		f, st, err := openRegular(open)
		if err != nil {
			return nil, err
		}
		if identityOf(&st) != id {
			f.Close()
			return nil, errChanged(f.Name())
		}
		return f, nil
	}
}

// put is tree.Put with the kind of error that a user can act on.
func (a *assembly) put(p string, n tree.Node) error {
	if _, err := a.tree.Put(p, n); err != nil {
		return faas.Errorf(faas.KindInvalid, "image: %w", err)
	}
	return nil
}

func (a *assembly) putDir(p string, mode uint32) error {
	if a.tree.Has(p) {
		return nil
	}
	return a.put(p, tree.Node{Type: tree.Dir, Mode: mode})
}

// putText puts a file with the given content.
func (a *assembly) putText(p, text string) error {
	sum := sha256.Sum256([]byte(text))
	digest := hex.EncodeToString(sum[:])
	a.provide(digest, func() (io.ReadCloser, error) {
		return io.NopCloser(strings.NewReader(text)), nil
	}, func() error { return nil })
	return a.put(p, tree.Node{Type: tree.File, Mode: 0o644, Content: digest, Size: int64(len(text))})
}

// putHost puts a copy of a host's file at p. Its owner is root and its time
// 1970: neither is part of what a program is.
func (a *assembly) putHost(ctx context.Context, p, name string, mode uint32) error {
	c, err := a.read(ctx, name)
	if err != nil {
		return err
	}
	return a.put(p, tree.Node{Type: tree.File, Mode: mode, Content: c.digest, Size: c.size})
}

// mirror puts a host's file where it is on the host, with every symbolic link
// that its path leads through.
func (a *assembly) mirror(ctx context.Context, name string) error {
	at := "/"
	parts := strings.Split(name, "/")
	for links := 0; len(parts) > 0; {
		next := path.Join(at, parts[0])
		parts = parts[1:]
		info, err := os.Lstat(next)
		if err != nil {
			return faas.Errorf(faas.KindInvalid, "read file of the image: %w", err)
		}
		if info.Mode()&os.ModeSymlink == 0 {
			at = next
			continue
		}
		if links++; links > 40 {
			return faas.Errorf(faas.KindInvalid, "%q: too many levels of symbolic links", name)
		}
		target, err := os.Readlink(next)
		if err != nil {
			return faas.Errorf(faas.KindInvalid, "read file of the image: %w", err)
		}
		if err := a.put(next, tree.Node{Type: tree.Symlink, Target: target}); err != nil {
			return err
		}
		if filepath.IsAbs(target) {
			at = "/"
		}
		parts = append(strings.Split(target, "/"), parts...)
	}
	info, err := os.Stat(at)
	if err != nil {
		return faas.Errorf(faas.KindInvalid, "read file of the image: %w", err)
	}
	return a.putHost(ctx, at, at, 0o444|uint32(info.Mode().Perm())&0o111)
}
