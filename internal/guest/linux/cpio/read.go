package cpio

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// An Entry is one file of an archive.
type Entry struct {
	Name   string // without a leading slash, as it is written
	Mode   uint32 // stat(2)'s
	UID    uint32
	GID    uint32
	Size   int64  // bytes of content
	Target string // of a symbolic link
}

const (
	magic      = "070701"
	headSize   = len(magic) + fieldCount*fieldSize
	fieldCount = 13
	fieldSize  = 8
	// maxName bounds names and targets of links, bytes: Linux's PATH_MAX.
	maxName = 4096
)

// Read reads archives that follow each other, as Linux takes them, calls f for
// each of their entries and passes over their content. It ends with the first
// error of f and returns that.
func Read(r io.Reader, f func(Entry) error) error {
	c := &counter{r: bufio.NewReaderSize(r, 64<<10)}
	archives, inside := 0, false
	for {
		ok, err := c.begins(inside)
		if err != nil || !ok {
			if err == nil && archives == 0 {
				err = errors.New("it is empty")
			}
			return unlessNil("read initial file system", err)
		}
		e, err := c.entry()
		if err != nil {
			return fmt.Errorf("read initial file system: at byte %d: %w", c.n, noEOF(err))
		}
		if inside = e.Name != trailer; !inside {
			archives++
			continue
		}
		if err := f(e); err != nil {
			return err
		}
	}
}

func unlessNil(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", what, err)
}

func noEOF(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("it is truncated")
	}
	return err
}

// A counter knows where it is: everything is aligned to four bytes.
type counter struct {
	r *bufio.Reader
	n int64
}

func (c *counter) Read(b []byte) (int, error) {
	n, err := c.r.Read(b)
	c.n += int64(n)
	return n, err
}

// begins tells whether another entry begins, after zeros where an archive has
// ended. inside says that none has.
func (c *counter) begins(inside bool) (bool, error) {
	for {
		b, err := c.r.Peek(1)
		switch {
		case errors.Is(err, io.EOF) && inside:
			return false, errors.New("it is truncated: it has no end")
		case errors.Is(err, io.EOF):
			return false, nil
		case err != nil:
			return false, err
		case b[0] != 0 || inside:
			return true, nil
		}
		if err := c.skip(1); err != nil {
			return false, err
		}
	}
}

func (c *counter) skip(n int64) error {
	_, err := io.CopyN(io.Discard, c, n)
	return err
}

// align passes over what fills up to a multiple of four.
func (c *counter) align() error { return c.skip((4 - c.n%4) % 4) }

func (c *counter) entry() (e Entry, err error) {
	head := make([]byte, headSize)
	if _, err := io.ReadFull(c, head); err != nil {
		return e, err
	}
	if string(head[:len(magic)]) != magic {
		return e, fmt.Errorf("there is no entry, but %q: it is compressed, or no archive", head[:len(magic)])
	}
	var fields [fieldCount]int64
	for i := range fields {
		at := len(magic) + i*fieldSize
		n, err := strconv.ParseUint(string(head[at:at+fieldSize]), 16, 32)
		if err != nil {
			return e, fmt.Errorf("a number is %q", head[at:at+fieldSize])
		}
		fields[i] = int64(n)
	}
	e = Entry{Mode: uint32(fields[1]), UID: uint32(fields[2]), GID: uint32(fields[3]), Size: fields[6]}
	if e.Name, err = c.text(fields[11]); err != nil {
		return e, err
	}
	name, ok := strings.CutSuffix(e.Name, "\x00")
	if e.Name = name; !ok || name == "" || strings.IndexByte(name, 0) >= 0 {
		return e, fmt.Errorf("a name is %q", name)
	}
	if err := c.align(); err != nil {
		return e, err
	}
	if e.Mode&typeMask == typeLink {
		e.Target, err = c.text(e.Size)
	} else {
		err = c.skip(e.Size)
	}
	if err != nil {
		return e, err
	}
	return e, c.align()
}

func (c *counter) text(length int64) (string, error) {
	if length > maxName {
		return "", fmt.Errorf("a name has %d bytes", length)
	}
	b := make([]byte, length)
	_, err := io.ReadFull(c, b)
	return string(b), err
}
