package logs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

const (
	// removedFolder holds, beside the functions' folders, what was set aside,
	// in a folder FUNCTION@TIME for each removal. No function has its name.
	removedFolder = ".removed"
	removedFormat = "20060102T150405.000000Z"

	blockSize = 4096 // of most file systems: what the smallest file takes
)

// Keep sets aside the files of functions that are not among functions, all
// that exist: a function of the same name that comes later begins with none.
// Files of instances that still run follow at their end. What was set aside
// is deleted when it is older than Options.RemovedAge, or, the oldest first,
// when all of it takes more than Options.RemovedSize.
func (c *Collector) Keep(functions []string) error {
	folders := map[string]bool{removedFolder: true}
	for _, function := range functions {
		folders[folderOf(function)] = true
	}
	entries, err := os.ReadDir(c.opts.Dir)
	if err != nil {
		return fmt.Errorf("list log folders: %w", err)
	}
	var errs []error
	now := time.Now().UTC()
	for _, e := range entries {
		if e.IsDir() && !folders[e.Name()] {
			errs = append(errs, c.setAside(e.Name(), now))
		}
	}
	return errors.Join(append(errs, c.Prune())...)
}

// setAside moves the files of the function whose folder is named.
func (c *Collector) setAside(folder string, now time.Time) error {
	dir := filepath.Join(c.opts.Dir, folder)
	to := filepath.Join(c.opts.Dir, removedFolder, folder+"@"+now.Format(removedFormat))
	live := c.endIn(folder, to)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("list log files: %w", err)
	}
	var errs []error
	for _, e := range entries {
		path := filepath.Join(dir, strings.TrimSuffix(e.Name(), rotatedSuffix))
		if !live[path] {
			errs = append(errs, moveAside(path, to))
		}
	}
	_ = os.Remove(dir) // it stays while an instance of the function writes into it
	return errors.Join(errs...)
}

// endIn has the streams that write into folder leave their files in dir at
// their end, and returns the paths of those files.
func (c *Collector) endIn(folder, dir string) map[string]bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	live := map[string]bool{}
	for _, s := range c.streams {
		if folderOf(s.function) != folder {
			continue
		}
		live[s.file.path] = true
		if s.aside == "" {
			s.aside = dir
		}
	}
	return live
}

// moveAside moves both generations of the file at path, as far as they are
// there, into dir.
func moveAside(path, dir string) error {
	for _, from := range []string{path, path + rotatedSuffix} {
		if _, err := os.Lstat(from); errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return fmt.Errorf("set aside log: %w", err)
		}
		if err := os.Rename(from, filepath.Join(dir, filepath.Base(from))); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("set aside log: %w", err)
		}
	}
	_ = os.Remove(filepath.Dir(path)) // if it was the last one
	return nil
}

// Prune deletes what [Collector.Keep] has set aside too long ago, or is too
// much, and what is too much of the files of all functions together: see
// Options.TotalSize.
func (c *Collector) Prune() error {
	return errors.Join(c.pruneRemoved(), c.bound())
}

func (c *Collector) pruneRemoved() error {
	root := filepath.Join(c.opts.Dir, removedFolder)
	entries, err := os.ReadDir(root)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("list logs of removed functions: %w", err)
	}
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return removedAt(b).Compare(removedAt(a)) })
	var used int64
	var errs []error
	for _, e := range entries {
		path := filepath.Join(root, e.Name())
		used += sizeOf(path)
		if used > c.opts.RemovedSize || time.Since(removedAt(e)) > c.opts.RemovedAge {
			errs = append(errs, os.RemoveAll(path))
		}
	}
	return errors.Join(errs...)
}

// removedAt is when a folder was set aside, long ago if its name doesn't tell.
func removedAt(e fs.DirEntry) time.Time {
	stamp := e.Name()[strings.LastIndexByte(e.Name(), '@')+1:]
	at, err := time.Parse(removedFormat, stamp)
	if err != nil {
		return time.Time{}
	}
	return at
}

// sizeOf is about what the files in a folder, and itself, take of the disk.
func sizeOf(dir string) int64 {
	size := int64(blockSize)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return size
	}
	for _, e := range entries {
		if info, err := e.Info(); err == nil {
			size += onDisk(info)
		}
	}
	return size
}

// onDisk is about what a file takes of the disk.
func onDisk(info os.FileInfo) int64 { return (info.Size() + blockSize - 1) / blockSize * blockSize }
