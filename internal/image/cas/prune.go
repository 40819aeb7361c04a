package cas

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/unifaas/unifaas/internal/image/tree"
)

// Pruned says what [Store.Prune] removed.
type Pruned struct {
	Trees   int
	Objects int
	Bytes   int64 // of the objects
}

// PruneOptions say what [Store.Prune] leaves.
type PruneOptions struct {
	// Keep reports whether a tree is needed; default: none is.
	Keep func(digest string) bool
	// Grace spares trees that somebody has asked for this recently: another
	// process may be about to use them. 0 is for a store that has one user.
	Grace time.Duration
	// Before is called first, while nobody adds anything. Default: nothing.
	Before func() error
	// Held is called once trees have been pruned, while nobody adds anything:
	// it removes the records that are not needed any more and returns the names
	// of the objects that the others need. Default: none.
	Held func() (map[string]bool, error)
}

// Prune removes the trees that nobody needs, then the objects that neither a
// tree nor a record needs. It waits, until ctx is done, for work in progress.
func (s *Store) Prune(ctx context.Context, o PruneOptions) (Pruned, error) {
	var p Pruned
	if o.Keep == nil {
		o.Keep = func(string) bool { return false }
	}
	l, err := s.lock(ctx, unix.LOCK_EX)
	if err != nil {
		return p, err
	}
	defer l.Close()
	if o.Before != nil {
		if err := o.Before(); err != nil {
			return p, fmt.Errorf("prune store: %w", err)
		}
	}
	if err := s.pruneTrees(&p, o.Keep, o.Grace); err != nil {
		return p, fmt.Errorf("prune store: %w", err)
	}
	var held map[string]bool
	if o.Held != nil {
		if held, err = o.Held(); err != nil {
			return p, fmt.Errorf("prune store: %w", err)
		}
	}
	if err := s.emptyTmp(); err != nil {
		return p, err
	}
	if err := s.pruneObjects(ctx, &p, held); err != nil {
		return p, fmt.Errorf("prune store: %w", err)
	}
	return p, nil
}

// pruneTrees moves trees aside in one step each, so that none is ever half
// there, and leaves the rest to emptyTmp.
func (s *Store) pruneTrees(p *Pruned, keep func(string) bool, grace time.Duration) error {
	entries, err := os.ReadDir(s.path("trees"))
	if err != nil {
		return err
	}
	for _, e := range entries {
		digest := e.Name()
		if keep(digest) {
			continue
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		// Times in the future are of a clock that was set back.
		if age := time.Since(info.ModTime()); age >= 0 && age < grace {
			continue
		}
		s.marks.Delete(digest)
		if err := os.Rename(s.path("trees", digest), s.path("tmp", "pruned-"+digest)); err != nil {
			return err
		}
		p.Trees++
	}
	return nil
}

// pruneObjects removes the objects with one name only, which no tree links to,
// unless they are held.
func (s *Store) pruneObjects(ctx context.Context, p *Pruned, held map[string]bool) error {
	return filepath.WalkDir(s.path("objects"), func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			return ctx.Err()
		}
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			return err
		}
		if st.Nlink > 1 || held[d.Name()] {
			return nil
		}
		p.Objects++
		p.Bytes += st.Size
		return os.Remove(path)
	})
}

// Verify reads the tree named digest whole and compares it with its manifest.
// It returns all differences, joined.
func (s *Store) Verify(ctx context.Context, digest string) error {
	t, err := s.Manifest(digest)
	if err != nil {
		return err
	}
	if got := t.Digest(); got != digest {
		return fmt.Errorf("verify tree %q: its manifest is of tree %q", digest, got)
	}
	rootfs := s.path("trees", digest, "rootfs")
	var wrong []error
	err = t.Walk(func(p string, n tree.Node) error {
		if err := s.verifyNode(rootfs+p, n); err != nil {
			wrong = append(wrong, err)
		}
		return ctx.Err()
	})
	if err != nil {
		return err
	}
	if err := errors.Join(wrong...); err != nil {
		return fmt.Errorf("verify tree %q: %w", digest, err)
	}
	return s.verifyNothingElse(t, digest, rootfs)
}

func (s *Store) verifyNode(path string, n tree.Node) error {
	switch n.Type {
	case tree.File:
		return s.check(path, n)
	case tree.Symlink:
		target, err := os.Readlink(path)
		if err == nil && target != n.Target {
			err = fmt.Errorf("%q leads to %q instead of %q", path, target, n.Target)
		}
		return err
	default:
		info, err := os.Lstat(path)
		if err == nil && !info.IsDir() {
			err = fmt.Errorf("%q is no folder", path)
		}
		return err
	}
}

func (s *Store) verifyNothingElse(t *tree.Tree, digest, rootfs string) error {
	count := 0
	err := filepath.WalkDir(rootfs, func(_ string, _ fs.DirEntry, err error) error {
		count++
		return err
	})
	if err != nil {
		return fmt.Errorf("verify tree %q: %w", digest, err)
	}
	if count != t.Len() {
		return fmt.Errorf("verify tree %q: it has %d files, its manifest %d", digest, count, t.Len())
	}
	return nil
}

// Remove takes the tree named digest out of the store, for instance after
// Verify has found it damaged, with the objects that differ from their names.
// A later Commit makes both anew.
func (s *Store) Remove(ctx context.Context, digest string) error {
	l, err := s.lock(ctx, unix.LOCK_EX)
	if err != nil {
		return err
	}
	defer l.Close()
	t, err := s.Manifest(digest)
	if err == nil {
		err = s.removeDamaged(t)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove tree %q: %w", digest, err)
	}
	s.marks.Delete(digest)
	aside := s.path("tmp", "removed-"+digest)
	if err := os.Rename(s.path("trees", digest), aside); err != nil {
		return fmt.Errorf("remove tree %q: %w", digest, err)
	}
	return removeTree(aside)
}

func (s *Store) removeDamaged(t *tree.Tree) error {
	return t.Walk(func(_ string, n tree.Node) error {
		if n.Type != tree.File || s.check(s.objectPath(n), n) == nil {
			return nil
		}
		err := os.Remove(s.objectPath(n))
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	})
}
