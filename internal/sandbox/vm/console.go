package vm

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"
)

const (
	// consoleFile is the FIFO, in the machine's folder, that a guest's console
	// goes to where its function's output comes another way. A FIFO, since a
	// file would grow as the guest likes; and the monitor has it open for
	// reading, too, so that it does not break when the platform dies.
	consoleFile = "console"
	// lastLines is how much is kept of a console, in bytes.
	lastLines = 4 << 10
)

// A console keeps the last lines of a guest's console, for when its function's
// output does not tell why it ended. Its methods may be called concurrently,
// and on a nil console, which has none.
type console struct {
	fifo *os.File
	read sync.WaitGroup

	mu   sync.Mutex
	last []byte
}

// newConsole makes the FIFO in dir, unless it is there, and begins to read it.
func newConsole(dir string) (*console, error) {
	path := filepath.Join(dir, consoleFile)
	if err := unix.Mkfifo(path, 0o600); err != nil && !errors.Is(err, unix.EEXIST) {
		return nil, fmt.Errorf("make the guest's console: %w", err)
	}
	fifo, err := os.OpenFile(path, os.O_RDWR|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("open the guest's console: %w", err)
	}
	c := &console{fifo: fifo}
	c.read.Go(c.follow)
	return c, nil
}

// open opens the console once more, for a monitor: with a setting of its own
// not to block.
func (c *console) open() (*os.File, error) { return openOutput(c.fifo) }

func (c *console) follow() {
	buf := make([]byte, lastLines)
	for {
		n, err := c.fifo.Read(buf)
		if err != nil {
			return // closed
		}
		c.mu.Lock()
		c.last = append(c.last, buf[:n]...)
		if over := len(c.last) - lastLines; over > 0 {
			c.last = append(c.last[:0], c.last[over:]...)
		}
		c.mu.Unlock()
	}
}

// tell writes the last lines, once.
func (c *console) tell(w io.Writer) {
	if c == nil {
		return
	}
	c.mu.Lock()
	last := c.last
	c.last = nil
	c.mu.Unlock()
	_, _ = w.Write(last) // it is a help, no more
}

func (c *console) close() error {
	if c == nil {
		return nil
	}
	err := unlessClosed(c.fifo.Close())
	c.read.Wait()
	return err
}
