package vm

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/unifaas/unifaas/internal/guest"
	"github.com/unifaas/unifaas/internal/host/sparse"
)

// sparesAhead is how many copies of a disk are kept ready for each image that
// is in use.
const sparesAhead = 2

// A spareRoom has copies of disks that guests write to, made ahead of need: a
// copy takes as long as the disk is large, unless the file system shares
// blocks. Its methods may be called concurrently.
type spareRoom struct {
	dir string

	mu     sync.Mutex
	all    map[source]*copies
	closed bool
	makers sync.WaitGroup
}

// copies are those of one disk.
type copies struct {
	ready  []string // paths
	making bool
	wanted time.Time
}

// A source is a disk of which there are copies: one that the operator has replaced
// or written to is another.
type source struct {
	path          string
	device, inode uint64
	size          int64
	written       unix.Timespec
}

func sourceOf(path string) (source, error) {
	var info unix.Stat_t
	if err := unix.Stat(path, &info); err != nil {
		return source{}, &os.PathError{Op: "stat", Path: path, Err: err}
	}
	return source{path: path, device: info.Dev, inode: info.Ino, size: info.Size, written: info.Mtim}, nil
}

func newSpareRoom(dir string) *spareRoom {
	return &spareRoom{dir: dir, all: map[source]*copies{}}
}

// spare begins the name of a copy that nobody has taken.
const spare = ".spare-"

// want has copies of a disk made in the background. Who takes one on the spot is
// told of an error.
func (r *spareRoom) want(path string) {
	s, err := sourceOf(path)
	if err != nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	c := r.all[s]
	if c == nil {
		c = &copies{}
		r.all[s] = c
	}
	c.wanted = time.Now()
	if r.closed || c.making || len(c.ready) >= sparesAhead {
		return
	}
	c.making = true
	r.makers.Go(func() { r.fill(s, c) })
}

func (r *spareRoom) fill(s source, c *copies) {
	for {
		path, err := r.make(s.path)
		if now, lookErr := sourceOf(s.path); err == nil && now != s { // it was replaced meanwhile
			err = errors.Join(errReplaced, lookErr, os.Remove(path))
		}
		r.mu.Lock()
		if err == nil {
			c.ready = append(c.ready, path)
		}
		if err != nil || r.closed || len(c.ready) >= sparesAhead {
			c.making = false
			r.mu.Unlock()
			return
		}
		r.mu.Unlock()
	}
}

var errReplaced = errors.New("the disk was replaced while it was copied")

// take moves a copy of the disk to the name that a machine has for it, made on
// the spot if none is ready.
func (r *spareRoom) take(ctx context.Context, disk, name string, uid int) (string, error) {
	defer r.want(disk)
	path, err := r.one(ctx, disk)
	if err != nil {
		return "", fmt.Errorf("copy disk %q: %w", disk, err)
	}
	taken := filepath.Join(r.dir, name)
	err = errors.Join(os.Chown(path, uid, uid), os.Rename(path, taken))
	if err != nil {
		return "", errors.Join(err, os.Remove(path))
	}
	return taken, nil
}

func (r *spareRoom) one(ctx context.Context, disk string) (string, error) {
	if err := ctx.Err(); err != nil {
		return "", err
	}
	s, err := sourceOf(disk)
	if err != nil {
		return "", err
	}
	r.mu.Lock()
	if c := r.all[s]; c != nil && len(c.ready) > 0 {
		last := len(c.ready) - 1
		path := c.ready[last]
		c.ready = c.ready[:last]
		r.mu.Unlock()
		return path, nil
	}
	r.mu.Unlock()
	return r.make(disk)
}

// make copies a disk, sharing its blocks where the file system can.
func (r *spareRoom) make(disk string) (path string, err error) {
	if err := os.MkdirAll(r.dir, 0o711); err != nil {
		return "", err
	}
	from, err := os.Open(disk)
	if err != nil {
		return "", err
	}
	defer func() { _ = from.Close() }()
	to, err := os.CreateTemp(r.dir, spare)
	if err != nil {
		return "", err
	}
	defer func() {
		if err = errors.Join(err, to.Close()); err != nil {
			_ = os.Remove(to.Name())
		}
	}()
	if err := unix.IoctlFileClone(int(to.Fd()), int(from.Fd())); err == nil {
		return to.Name(), nil
	}
	info, err := from.Stat()
	if err == nil {
		err = to.Truncate(info.Size())
	}
	if err == nil {
		err = sparse.Copy(to, 0, from, info.Size())
	}
	return to.Name(), err
}

// release removes the disks of a machine, by the beginning of their names.
func (r *spareRoom) release(prefix string) error {
	return r.remove(func(name string) bool { return strings.HasPrefix(name, prefix) })
}

// sweep removes what no machine has, the copies of an earlier run among them.
func (r *spareRoom) sweep(known func(name string) bool) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	mine, making := map[string]bool{}, false
	for _, c := range r.all {
		making = making || c.making
		for _, path := range c.ready {
			mine[filepath.Base(path)] = true
		}
	}
	return r.remove(func(name string) bool {
		return !mine[name] && !known(name) && !(strings.HasPrefix(name, spare) && making)
	})
}

func (r *spareRoom) remove(which func(name string) bool) error {
	entries, err := os.ReadDir(r.dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	errs := []error{err}
	for _, e := range entries {
		if which(e.Name()) {
			errs = append(errs, os.Remove(filepath.Join(r.dir, e.Name())))
		}
	}
	return errors.Join(errs...)
}

// inUse is how long ago a disk that is in use was wanted at the most when prune
// is called: Keep has just been.
const inUse = time.Minute

// prune removes the copies of disks that nobody has wanted for grace.
func (r *spareRoom) prune(grace time.Duration) error {
	grace = max(grace, inUse)
	r.mu.Lock()
	defer r.mu.Unlock()
	var errs []error
	for s, c := range r.all {
		if c.making || time.Since(c.wanted) <= grace {
			continue
		}
		errs = append(errs, c.remove())
		delete(r.all, s)
	}
	return errors.Join(errs...)
}

// remove removes the copies that are ready.
func (c *copies) remove() error {
	var errs []error
	for _, path := range c.ready {
		errs = append(errs, os.Remove(path))
	}
	c.ready = nil
	return errors.Join(errs...)
}

// close removes the copies that nobody has taken.
func (r *spareRoom) close() error {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	r.makers.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	var errs []error
	for _, c := range r.all {
		errs = append(errs, c.remove())
	}
	return errors.Join(errs...)
}

// diskName is the name of a machine's disk.
func diskName(id string, n int) string { return fmt.Sprintf("%s.%d", id, n) }

// disk returns the path of a machine's n-th disk.
func (s *starter) disk(ctx context.Context, n int, i guest.Instance) (string, error) {
	d := s.art.image.Disks[n]
	if !d.Private {
		return d.Path, nil
	}
	path, err := s.driver.disks.take(ctx, d.Path, diskName(s.spec.ID, n), s.inst.uid)
	if err != nil || d.Patch == nil {
		return path, err
	}
	return path, patch(path, d, i)
}

// patch writes into a machine's disk what it alone has to know.
func patch(path string, d guest.Disk, i guest.Instance) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	if err := errors.Join(d.Patch(f, i), f.Close()); err != nil {
		return fmt.Errorf("patch disk: %w", err)
	}
	return nil
}
