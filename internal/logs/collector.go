// Package logs keeps the output of instances: it reads each instance's FIFO,
// stamps the lines, and writes them to files that are bounded and rotated. It
// knows instances only by their ids and functions by their names.
package logs

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Options configure a [Collector]. The zero value of a field means its default.
type Options struct {
	Dir         string        // folder of the log files; required
	FileSize    int64         // bytes at which a file is rotated, 1 MiB by default; two are kept
	Retain      int           // ended instances whose files are kept, per function, 20 by default
	RemovedAge  time.Duration // for how long the files of a removed function are kept, 24 h by default
	RemovedSize int64         // bytes of disk for those of all removed functions, 64 MiB by default
	TotalSize   int64         // bytes of disk for all files, 1 GiB or a twentieth of the disk by default, whichever is less
	Logger      *slog.Logger
	subscribers int // lines buffered for each follower
}

// A Collector reads the output of instances into files. Its methods may be
// called concurrently.
type Collector struct {
	opts  Options
	total total

	mu      sync.Mutex
	streams map[string]*Stream // by instance
	follows map[*follower]struct{}
}

// New returns a collector that writes into opts.Dir, which it makes if needed.
func New(opts Options) (*Collector, error) {
	if opts.FileSize == 0 {
		opts.FileSize = 1 << 20
	}
	if opts.Retain == 0 {
		opts.Retain = 20
	}
	if opts.RemovedAge == 0 {
		opts.RemovedAge = 24 * time.Hour
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	opts.subscribers = 256
	if err := os.MkdirAll(opts.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("create log folder: %w", err)
	}
	if opts.TotalSize == 0 {
		var err error
		if opts.TotalSize, err = defaultTotal(opts.Dir); err != nil {
			return nil, err
		}
	}
	if opts.RemovedSize == 0 {
		opts.RemovedSize = min(64<<20, opts.TotalSize/4)
	}
	c := &Collector{opts: opts, streams: map[string]*Stream{}, follows: map[*follower]struct{}{}}
	c.total.limit = max(opts.TotalSize-opts.RemovedSize, 0)
	c.total.above.Store(c.total.limit)
	return c, nil
}

// Open makes the FIFO at path unless it exists, and begins to read it as the
// output of an instance of function. The returned stream must be closed.
//
// The FIFO is opened for reading and writing on both sides: neither a
// restart of the platform nor an instance that closes its output breaks it.
func (c *Collector) Open(function, instance, path string) (*Stream, error) {
	if err := unix.Mkfifo(path, 0o600); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("make output FIFO %q: %w", path, err)
	}
	// Non-blocking at open, so that the runtime's poller waits for it.
	pipe, err := os.OpenFile(path, os.O_RDWR|unix.O_NONBLOCK|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, fmt.Errorf("open output FIFO: %w", err)
	}
	s := &Stream{
		collector: c, function: function, instance: instance,
		path: path, pipe: pipe, done: make(chan struct{}),
		file: &rotating{path: c.file(function, instance), limit: c.opts.FileSize, wrote: c.wrote},
	}
	c.mu.Lock()
	c.streams[instance] = s
	c.mu.Unlock()
	go s.read(s.done)
	return s, nil
}

func (c *Collector) file(function, instance string) string {
	return filepath.Join(c.opts.Dir, folderOf(function), instance+".log")
}

// folderOf names the folder of a function's files. No function's name holds an @.
func folderOf(function string) string { return strings.ReplaceAll(function, "/", "@") }

func (c *Collector) forget(s *Stream) {
	c.mu.Lock()
	delete(c.streams, s.instance)
	aside := s.aside
	c.mu.Unlock()
	if aside != "" {
		if err := moveAside(s.file.path, aside); err != nil {
			c.opts.Logger.Warn("cannot set aside the output of an instance", "function", s.function, "instance", s.instance, "err", err)
		}
	}
	c.prune(s.function)
}

// prune removes the oldest files of a function beyond opts.Retain.
func (c *Collector) prune(function string) {
	files, err := c.files(function)
	if err != nil || len(files) <= c.opts.Retain {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	excess := len(files) - c.opts.Retain
	for _, f := range files {
		if excess == 0 {
			return
		}
		if _, live := c.streams[f.instance]; live {
			continue
		}
		_ = os.Remove(f.path)
		_ = os.Remove(f.path + rotatedSuffix)
		excess--
	}
}

type logFile struct {
	path, instance string
	modified       time.Time
}

// files lists a function's log files, the one written longest ago first.
func (c *Collector) files(function string) ([]logFile, error) {
	dir := filepath.Dir(c.file(function, "x"))
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list log files: %w", err)
	}
	// An instance may have either generation or both.
	written := map[string]time.Time{}
	for _, e := range entries {
		instance, ok := strings.CutSuffix(strings.TrimSuffix(e.Name(), rotatedSuffix), ".log")
		if !ok {
			continue
		}
		if info, err := e.Info(); err == nil && info.ModTime().After(written[instance]) {
			written[instance] = info.ModTime()
		}
	}
	var files []logFile
	for instance, at := range written {
		files = append(files, logFile{c.file(function, instance), instance, at})
	}
	sort.Slice(files, func(i, j int) bool { return files[i].modified.Before(files[j].modified) })
	return files, nil
}
