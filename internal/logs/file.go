package logs

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

const (
	rotatedSuffix = ".1"
	timeFormat    = "2006-01-02T15:04:05.000000Z07:00"

	timeResolution = time.Microsecond // of timeFormat
)

// An Entry is one line of output.
type Entry struct {
	Time     time.Time `json:"time"`
	Function string    `json:"function"`
	Instance string    `json:"instance"`
	Text     string    `json:"text"`
}

// rotating is a file that is opened at its first line and moved aside when it
// is full. At most two generations exist. It is not safe for concurrent use.
type rotating struct {
	path   string
	limit  int64
	file   *os.File
	size   int64
	before int64       // size of the generation before, as far as it is known
	wrote  func(int64) // is told by how many bytes the files have grown
	failed bool        // the last write failed; said once
}

func (r *rotating) write(e Entry) error {
	if err := r.open(); err != nil {
		return r.fail(err)
	}
	n, err := r.file.WriteString(e.Time.Format(timeFormat) + " " + e.Text + "\n")
	r.size += int64(n)
	r.wrote(int64(n))
	if err != nil {
		return r.fail(err)
	}
	r.failed = false
	if r.size >= r.limit {
		return r.rotate()
	}
	return nil
}

func (r *rotating) open() error {
	if r.file != nil {
		return nil
	}
	file, err := r.create()
	if errors.Is(err, fs.ErrNotExist) {
		file, err = r.create() // the empty folder was just taken away
	}
	if err != nil {
		return err
	}
	info, err := file.Stat()
	if err != nil {
		_ = file.Close()
		return err
	}
	r.file, r.size = file, info.Size()
	if r.size == 0 {
		r.wrote(blockSize) // it takes that from its first byte on
	}
	return nil
}

func (r *rotating) create() (*os.File, error) {
	if err := os.MkdirAll(filepath.Dir(r.path), 0o700); err != nil {
		return nil, err
	}
	return os.OpenFile(r.path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
}

func (r *rotating) rotate() error {
	if err := r.close(); err != nil {
		return err
	}
	r.wrote(-r.before)
	r.before = r.size
	return os.Rename(r.path, r.path+rotatedSuffix)
}

func (r *rotating) close() error {
	if r.file == nil {
		return nil
	}
	err := r.file.Close()
	r.file = nil
	return err
}

// fail returns err the first time in a row, so that a full disk fills no log.
func (r *rotating) fail(err error) error {
	if r.failed {
		return nil
	}
	r.failed = true
	return err
}

func (c *Collector) writeFailed(s *Stream, err error) {
	c.opts.Logger.Warn("output of an instance is being lost", "function", s.function, "instance", s.instance, "err", err)
}

// Read returns the last lines that are kept of a function, of one instance
// if instance is not empty, at most max (all that is kept if max is 0), in
// the order of their times.
func (c *Collector) Read(function, instance string, max int) ([]Entry, error) {
	files, err := c.files(function)
	if err != nil {
		return nil, err
	}
	var entries []Entry
	for _, f := range files {
		if instance != "" && f.instance != instance {
			continue
		}
		for _, path := range []string{f.path + rotatedSuffix, f.path} {
			more, err := readFile(path, function, f.instance)
			if err != nil {
				return nil, err
			}
			entries = append(entries, more...)
		}
	}
	sortByTime(entries)
	if max > 0 && len(entries) > max {
		entries = entries[len(entries)-max:]
	}
	return entries, nil
}

func readFile(path, function, instance string) ([]Entry, error) {
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read log: %w", err)
	}
	defer file.Close()
	var entries []Entry
	// A line may have any length: a power failure leaves blocks of zeros.
	lines := bufio.NewReader(file)
	for {
		line, err := lines.ReadString('\n')
		if err != nil && !errors.Is(err, io.EOF) {
			return entries, fmt.Errorf("read log: %w", err)
		}
		stamp, text, _ := strings.Cut(strings.TrimSuffix(strings.TrimSuffix(line, "\n"), "\r"), " ")
		if at, bad := time.Parse(timeFormat, stamp); bad == nil { // else cut short by a crash
			entries = append(entries, Entry{Time: at, Function: function, Instance: instance, Text: text})
		}
		if err != nil {
			return entries, nil
		}
	}
}
