package cas

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/unifaas/unifaas/internal/faas"
	"github.com/unifaas/unifaas/internal/image/tree"
)

// A Batch adds objects whose content is known only once it has been read, as
// that of an archive. Nothing of it is visible before [Batch.Publish]. While a
// batch is open nothing is removed from the store. It is not safe for
// concurrent use; several batches at the same time are.
type Batch struct {
	store  *Store
	lock   io.Closer
	work   string
	nodes  []tree.Node
	staged []string
	seen   map[string]bool // names of the objects that are staged
	buf    []byte
}

// Begin returns an empty batch. The context bounds the wait for the store's
// lock. The caller closes the batch.
func (s *Store) Begin(ctx context.Context) (*Batch, error) {
	l, err := s.Hold(ctx)
	if err != nil {
		return nil, err
	}
	work, err := os.MkdirTemp(s.path("tmp"), "batch-")
	if err != nil {
		l.Close()
		return nil, fmt.Errorf("begin batch: %w", full(err, s.dir))
	}
	return &Batch{store: s, lock: l, work: work, seen: map[string]bool{}, buf: make([]byte, smallFile)}, nil
}

// Hold keeps others, and this process, from removing anything from the store
// until what it returns is closed. The context bounds the wait for a removal
// that is under way.
func (s *Store) Hold(ctx context.Context) (io.Closer, error) { return s.lock(ctx, unix.LOCK_SH) }

// Close ends the batch; what was not published is gone. It is idempotent.
func (b *Batch) Close() error {
	if b.lock == nil {
		return nil
	}
	err := errors.Join(removeTree(b.work), b.lock.Close())
	b.lock = nil
	return err
}

// smallFile is up to which size a file is held in memory until it is known
// whether the store has it: most of an image's files are smaller.
const smallFile = 64 << 10

// Add stages the file n with the content of r, of which n.Size bytes are read:
// fewer are an error of io.ErrUnexpectedEOF. It returns n with its Content set.
func (b *Batch) Add(n tree.Node, r io.Reader) (tree.Node, error) {
	n, err := b.add(n, r)
	if err != nil {
		return n, full(err, b.store.dir)
	}
	return n, nil
}

func (b *Batch) add(n tree.Node, r io.Reader) (tree.Node, error) {
	if n.Size > smallFile {
		return b.addLarge(n, r)
	}
	data := b.buf[:n.Size]
	if _, err := io.ReadFull(r, data); err != nil {
		return n, eof(err)
	}
	sum := sha256.Sum256(data)
	n.Content = hex.EncodeToString(sum[:])
	if b.has(n) {
		return n, nil
	}
	path := b.next()
	err := b.store.create(path, n, func(f *os.File) error {
		_, err := io.Copy(f, bytes.NewReader(data))
		return err
	})
	if err != nil {
		return n, err
	}
	b.stage(n, path)
	return n, nil
}

func (b *Batch) addLarge(n tree.Node, r io.Reader) (tree.Node, error) {
	path := b.next()
	err := b.store.create(path, n, func(f *os.File) error {
		h := sha256.New()
		// The multi-writer hides the file's ReadFrom, which would take a
		// buffer of its own for each file.
		size, err := io.CopyBuffer(io.MultiWriter(h, f), io.LimitReader(r, n.Size), b.buf)
		if err == nil && size != n.Size {
			err = io.ErrUnexpectedEOF
		}
		n.Content = hex.EncodeToString(h.Sum(nil))
		return err
	})
	if err != nil {
		return n, errors.Join(err, removeTree(path))
	}
	if b.has(n) {
		return n, os.Remove(path)
	}
	b.stage(n, path)
	return n, nil
}

func eof(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

func (b *Batch) next() string { return filepath.Join(b.work, strconv.Itoa(len(b.staged))) }

func (b *Batch) has(n tree.Node) bool { return b.seen[objectName(n)] || b.store.Has(n) }

func (b *Batch) stage(n tree.Node, path string) {
	b.seen[objectName(n)] = true
	b.nodes = append(b.nodes, n)
	b.staged = append(b.staged, path)
}

// Publish makes everything that was added durable and visible. It may be
// called once.
func (b *Batch) Publish() error {
	err := syncAll(b.work, b.staged)
	if err == nil {
		err = b.store.publishObjects(b.nodes, b.staged)
	}
	if err != nil {
		return fmt.Errorf("publish batch: %w", full(err, b.store.dir))
	}
	return nil
}

// Has reports whether the store has the content of the file n, with n's
// metadata.
func (s *Store) Has(n tree.Node) bool {
	var st unix.Stat_t
	return unix.Lstat(s.objectPath(n), &st) == nil && st.Size == n.Size
}

// Room returns an error of kind busy when the store's file system has less
// than need bytes for us. That it has more now promises nothing.
func (s *Store) Room(need int64) error {
	var st unix.Statfs_t
	if err := unix.Statfs(s.dir, &st); err != nil {
		return fmt.Errorf("look for room in store %q: %w", s.dir, err)
	}
	if free := int64(st.Bavail) * st.Bsize; free < need {
		return faas.Errorf(faas.KindBusy, "no space left for the image store %q: %d MiB are needed at least, %d MiB are free; free some, or prune the store",
			s.dir, need>>20, free>>20)
	}
	return nil
}
