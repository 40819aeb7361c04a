package logs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// A total bounds what the files of all functions take, those of removed
// functions aside. What they take is added up as they are written, and
// measured when that is too much.
type total struct {
	limit int64        // bytes of disk
	used  atomic.Int64 // about what they take
	above atomic.Int64 // of used, when to make room

	busy sync.Mutex // held by who makes room
}

const (
	totalMost  = 1 << 30
	totalShare = 20 // of the disk, a part
)

// defaultTotal is 1 GiB or a twentieth of dir's disk, whichever is less.
func defaultTotal(dir string) (int64, error) {
	var disk unix.Statfs_t
	if err := unix.Statfs(dir, &disk); err != nil {
		return 0, fmt.Errorf("measure the disk of the log folder: %w", err)
	}
	return min(totalMost, int64(disk.Blocks)*disk.Bsize/totalShare), nil
}

// wrote is told that files have grown by n bytes, and makes room if that is
// too much.
func (c *Collector) wrote(n int64) {
	t := &c.total
	if t.used.Add(n) <= t.above.Load() || !t.busy.TryLock() {
		return
	}
	defer t.busy.Unlock()
	if err := c.makeRoom(); err != nil {
		c.opts.Logger.Warn("cannot keep the logs within their bound", "limit", t.limit, "err", err)
	}
}

// bound measures what the files take and makes room if that is too much.
func (c *Collector) bound() error {
	c.total.busy.Lock()
	defer c.total.busy.Unlock()
	return c.makeRoom()
}

// A generation is one file of an instance.
type generation struct {
	path     string
	instance string
	rotated  bool
	size     int64 // of the disk
	modified time.Time
}

// makeRoom deletes files until they are a tenth below the limit: those of
// instances that have ended, what was written longest ago first, then the
// rotated ones of those that live. The caller holds total.busy.
func (c *Collector) makeRoom() error {
	t := &c.total
	files, err := c.generations()
	var used int64
	for _, f := range files {
		used += f.size
	}
	errs := []error{err}
	if used > t.limit {
		for _, f := range c.dispensable(files) {
			if used <= t.limit-t.limit/10 {
				break
			}
			if err := os.Remove(f.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
				errs = append(errs, err)
				continue
			}
			used -= f.size
			_ = os.Remove(filepath.Dir(f.path)) // if it was the last one
		}
	}
	t.used.Store(used)
	// Where what can't be deleted takes more, not every line is to look again.
	t.above.Store(max(t.limit, used+t.limit/20))
	return errors.Join(errs...)
}

// dispensable returns those of files that may be deleted, the first to go
// first.
func (c *Collector) dispensable(files []generation) []generation {
	c.mu.Lock()
	defer c.mu.Unlock()
	live := func(f generation) bool { return c.streams[f.instance] != nil }
	files = slices.DeleteFunc(files, func(f generation) bool { return live(f) && !f.rotated })
	slices.SortFunc(files, func(a, b generation) int {
		switch {
		case live(a) == live(b):
			return a.modified.Compare(b.modified)
		case live(b):
			return -1
		default:
			return 1
		}
	})
	return files
}

// generations lists the files of all functions.
func (c *Collector) generations() ([]generation, error) {
	folders, err := os.ReadDir(c.opts.Dir)
	if err != nil {
		return nil, fmt.Errorf("list log folders: %w", err)
	}
	var files []generation
	var errs []error
	for _, folder := range folders {
		if !folder.IsDir() || folder.Name() == removedFolder {
			continue
		}
		dir := filepath.Join(c.opts.Dir, folder.Name())
		entries, err := os.ReadDir(dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, fmt.Errorf("list log files: %w", err))
		}
		for _, e := range entries {
			base, rotated := strings.CutSuffix(e.Name(), rotatedSuffix)
			instance, ok := strings.CutSuffix(base, ".log")
			info, err := e.Info()
			if !ok || err != nil {
				continue // none of ours, or just gone
			}
			files = append(files, generation{
				path: filepath.Join(dir, e.Name()), instance: instance, rotated: rotated,
				size: onDisk(info), modified: info.ModTime(),
			})
		}
	}
	return files, errors.Join(errs...)
}
