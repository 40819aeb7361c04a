package cas

import (
	"context"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/unifaas/unifaas/internal/image/tree"
)

// build makes the folder stage with rootfs/ in it from objects that are there.
// Links come last: no path that is written leads through one.
func (s *Store) build(ctx context.Context, t *tree.Tree, stage string) error {
	if err := os.Mkdir(stage, 0o700); err != nil {
		return err
	}
	rootfs := filepath.Join(stage, "rootfs")
	if err := s.makeDirs(t, rootfs); err != nil {
		return err
	}
	err := t.Walk(func(p string, n tree.Node) error {
		if n.Type != tree.File {
			return ctx.Err()
		}
		return s.link(n, rootfs+p)
	})
	if err != nil {
		return err
	}
	err = t.Walk(func(p string, n tree.Node) error {
		if n.Type != tree.Symlink {
			return nil
		}
		return s.symlink(n, rootfs+p)
	})
	if err != nil {
		return err
	}
	return s.finishDirs(t, rootfs)
}

func (s *Store) makeDirs(t *tree.Tree, rootfs string) error {
	return t.Walk(func(p string, n tree.Node) error {
		if n.Type != tree.Dir {
			return nil
		}
		return os.Mkdir(rootfs+p, 0o700)
	})
}

func (s *Store) symlink(n tree.Node, path string) error {
	if err := os.Symlink(n.Target, path); err != nil {
		return err
	}
	if s.root {
		return os.Lchown(path, int(n.UID), int(n.GID))
	}
	return nil
}

// finishDirs gives folders their owner, mode and time, once nothing more is
// put into them, and makes them durable.
func (s *Store) finishDirs(t *tree.Tree, rootfs string) error {
	dirs := 0
	err := t.Walk(func(p string, n tree.Node) error {
		if n.Type != tree.Dir {
			return nil
		}
		dirs++
		return s.finishDir(n, rootfs+p)
	})
	if err != nil {
		return err
	}
	if dirs > syncFew {
		return syncFS(rootfs)
	}
	return t.Walk(func(p string, n tree.Node) error {
		if n.Type != tree.Dir {
			return nil
		}
		return syncPath(rootfs + p)
	})
}

func (s *Store) finishDir(n tree.Node, path string) error {
	if s.root {
		if err := os.Lchown(path, int(n.UID), int(n.GID)); err != nil {
			return err
		}
	}
	if err := setXattrs(path, n); err != nil {
		return err
	}
	mode := n.Mode
	if !s.root {
		mode |= 0o700 // else we could neither sync nor ever remove it
	}
	if err := unix.Chmod(path, mode); err != nil {
		return &os.PathError{Op: "chmod", Path: path, Err: err}
	}
	epoch := time.Unix(0, 0)
	return os.Chtimes(path, epoch, epoch)
}
