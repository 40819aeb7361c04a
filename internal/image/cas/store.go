package cas

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"
	"golang.org/x/sys/unix"

	"github.com/unifaas/unifaas/internal/faas"
	"github.com/unifaas/unifaas/internal/image/tree"
)

const version = "1\n"

// A Store is an open store. Its methods may be called concurrently.
type Store struct {
	dir     string
	root    bool // we may set owners and capabilities
	flights singleflight.Group
	marks   sync.Map // digest of a tree -> time of its last mark
}

// Open opens the store in the folder dir, which is made, mode 0700, where it
// is missing, and removes what a crash left in tmp unless another process is
// at work there. The error's kind is invalid when the folder holds a store of
// another version.
func Open(dir string) (*Store, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	s := &Store{dir: dir, root: os.Geteuid() == 0}
	for _, sub := range []string{"", "objects", "trees", "tmp"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o700); err != nil {
			return nil, fmt.Errorf("open store %q: %w", dir, full(err, dir))
		}
	}
	if err := s.checkVersion(); err != nil {
		return nil, err
	}
	return s, s.sweep()
}

// Dir returns the store's folder.
func (s *Store) Dir() string { return s.dir }

func (s *Store) path(parts ...string) string {
	return filepath.Join(append([]string{s.dir}, parts...)...)
}

func (s *Store) checkVersion() error {
	b, err := os.ReadFile(s.path("version"))
	if errors.Is(err, fs.ErrNotExist) {
		return writeDurably(s.dir, "version", []byte(version))
	}
	if err != nil {
		return fmt.Errorf("open store %q: %w", s.dir, err)
	}
	if string(b) != version {
		return faas.Errorf(faas.KindInvalid, "store %q has version %q, this program knows %q; remove the folder to begin anew",
			s.dir, strings.TrimSpace(string(b)), strings.TrimSpace(version))
	}
	return nil
}

// sweep empties tmp unless somebody else holds the lock.
func (s *Store) sweep() error {
	l, err := s.tryLock(unix.LOCK_EX)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return nil
	}
	if err != nil {
		return err
	}
	defer l.Close()
	return s.emptyTmp()
}

func (s *Store) emptyTmp() error {
	entries, err := os.ReadDir(s.path("tmp"))
	if err != nil {
		return fmt.Errorf("clean store: %w", err)
	}
	for _, e := range entries {
		if err := removeTree(s.path("tmp", e.Name())); err != nil {
			return fmt.Errorf("clean store: %w", err)
		}
	}
	return nil
}

// Rootfs returns the folder of the tree named digest, and whether it is there.
func (s *Store) Rootfs(digest string) (string, bool) {
	if !s.HasTree(digest) {
		return "", false
	}
	s.mark(digest)
	return s.path("trees", digest, "rootfs"), true
}

// HasTree reports whether the tree named digest is there, without marking it
// as used.
func (s *Store) HasTree(digest string) bool {
	_, err := os.Lstat(s.path("trees", digest, "manifest"))
	return err == nil
}

// markEvery is how precisely the last use of a tree is known.
const markEvery = time.Minute

// mark notes that a tree is in use, so that Prune leaves it for a while.
func (s *Store) mark(digest string) {
	now := time.Now()
	if last, ok := s.marks.Load(digest); ok && now.Sub(last.(time.Time)) < markEvery {
		return
	}
	// A store on a read-only file system can't be pruned either.
	if os.Chtimes(s.path("trees", digest), now, now) == nil {
		s.marks.Store(digest, now)
	}
}

// Manifest returns the tree named digest. The error's kind is not-found when
// the store does not have it.
func (s *Store) Manifest(digest string) (*tree.Tree, error) {
	text, err := os.ReadFile(s.path("trees", digest, "manifest"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, faas.Errorf(faas.KindNotFound, "store %q has no tree %q", s.dir, digest)
	}
	if err != nil {
		return nil, fmt.Errorf("read manifest %q: %w", digest, err)
	}
	return tree.Parse(text)
}

// full turns "no space left" into an error that says what to do.
func full(err error, dir string) error {
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		return faas.Errorf(faas.KindBusy, "no space left for the image store %q: free some, or prune the store: %w", dir, err)
	}
	return err
}
