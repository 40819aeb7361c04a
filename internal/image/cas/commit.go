package cas

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/unifaas/unifaas/internal/faas"
	"github.com/unifaas/unifaas/internal/image/tree"
)

// An Opener opens the content of one file of a tree. It may be called
// concurrently; the caller closes what it returns.
type Opener func() (io.ReadCloser, error)

// copiers is how many files are copied at the same time: enough to keep a
// disk busy, few enough for a small machine's memory and files.
const copiers = 4

// Commit makes t exist in the store and returns its digest. For content that
// the store lacks it calls open with the content's SHA-256; content that
// turns out different is an error of kind busy, and so is a full disk. On
// error nothing becomes visible. verify, unless nil, is called once all
// content has been read and before the tree becomes visible: its error ends
// the commit. Concurrent commits of the same tree are one.
func (s *Store) Commit(ctx context.Context, t *tree.Tree, open func(content string) Opener, verify func() error) (string, error) {
	text := t.Text()
	digest := tree.DigestOf(text)
	for {
		_, err, _ := s.flights.Do(digest, func() (any, error) {
			if _, ok := s.Rootfs(digest); ok {
				return nil, nil
			}
			return nil, s.commit(ctx, t, digest, text, open, verify)
		})
		if err == nil {
			return digest, nil
		}
		// We may have joined somebody whose context ended.
		if ctx.Err() != nil || faas.KindOf(err) != faas.KindCanceled {
			return "", fmt.Errorf("store tree: %w", full(err, s.dir))
		}
	}
}

func (s *Store) commit(ctx context.Context, t *tree.Tree, digest string, text []byte, open func(string) Opener, verify func() error) error {
	l, err := s.lock(ctx, unix.LOCK_SH)
	if err != nil {
		return err
	}
	defer l.Close()
	// Another process may have been faster while we waited.
	if _, ok := s.Rootfs(digest); ok {
		return nil
	}
	work, err := os.MkdirTemp(s.path("tmp"), "commit-")
	if err != nil {
		return err
	}
	defer func() { _ = removeTree(work) }() // what is left of it goes at the next Open
	if err := s.addObjects(ctx, t, work, open); err != nil {
		return err
	}
	if verify != nil {
		if err := verify(); err != nil {
			return err
		}
	}
	stage := filepath.Join(work, "tree")
	if err := s.build(ctx, t, stage); err != nil {
		return err
	}
	if err := writeDurably(stage, "manifest", text); err != nil {
		return err
	}
	return s.publish(stage, digest)
}

// publish gives a whole tree its name.
func (s *Store) publish(stage, digest string) error {
	now := time.Now()
	if err := os.Chtimes(stage, now, now); err != nil {
		return err
	}
	err := os.Rename(stage, s.path("trees", digest))
	if errors.Is(err, fs.ErrExist) || errors.Is(err, unix.ENOTEMPTY) {
		return nil
	}
	if err != nil {
		return err
	}
	return syncPath(s.path("trees"))
}

// addObjects adds the objects of t that the store lacks.
func (s *Store) addObjects(ctx context.Context, t *tree.Tree, work string, open func(string) Opener) error {
	missing := s.missing(t)
	staged := make([]string, len(missing))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(copiers)
	for i, n := range missing {
		staged[i] = filepath.Join(work, strconv.Itoa(i))
		g.Go(func() error {
			if err := ctx.Err(); err != nil {
				return err
			}
			return s.stage(staged[i], n, open(n.Content))
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	if err := syncAll(work, staged); err != nil {
		return err
	}
	return s.publishObjects(missing, staged)
}

// missing returns one node for each object of t that the store lacks.
func (s *Store) missing(t *tree.Tree) []tree.Node {
	var missing []tree.Node
	seen := map[string]bool{}
	_ = t.Walk(func(_ string, n tree.Node) error { // f never fails
		if n.Type != tree.File || seen[objectName(n)] {
			return nil
		}
		seen[objectName(n)] = true
		if _, err := os.Lstat(s.objectPath(n)); err != nil {
			missing = append(missing, n)
		}
		return nil
	})
	return missing
}

func (s *Store) stage(path string, n tree.Node, open Opener) error {
	r, err := open()
	if err != nil {
		return err
	}
	defer r.Close()
	return s.write(path, n, r)
}

// syncFew is up to how many files are made durable one by one.
const syncFew = 64

func syncAll(dir string, paths []string) error {
	if len(paths) > syncFew {
		return syncFS(dir)
	}
	for _, p := range paths {
		if err := syncPath(p); err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) publishObjects(nodes []tree.Node, staged []string) error {
	shards := map[string]bool{}
	for i, n := range nodes {
		to := s.objectPath(n)
		shard := filepath.Dir(to)
		if !shards[shard] {
			if err := os.MkdirAll(shard, 0o700); err != nil {
				return err
			}
			shards[shard] = true
		}
		// A rename over an object that another process has just added would
		// part it from the trees that link to it, and is harmless.
		if err := os.Rename(staged[i], to); err != nil {
			return err
		}
	}
	if len(nodes) == 0 {
		return nil
	}
	if len(shards) > syncFew {
		return syncFS(s.dir)
	}
	for shard := range shards {
		if err := syncPath(shard); err != nil {
			return err
		}
	}
	return syncPath(s.path("objects"))
}
