package qmp

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// ErrClosed says that the connection was ended by this side.
var ErrClosed = errors.New("the connection to the monitor was closed")

// A Conn is a connection to a server that is ready for commands. Its methods
// may be called concurrently: replies find their commands by number.
type Conn struct {
	version Version
	conn    *net.UnixConn
	in      *bufio.Reader // of the reader alone
	events  func(Event)

	write sync.Mutex // one command at a time goes out

	mu      sync.Mutex
	last    uint64                 // number of the last command
	pending map[uint64]chan answer // of commands without a reply
	err     error                  // why the connection has ended
	done    chan struct{}          // closed when it has
}

// An answer is the reply to a command.
type answer struct {
	result json.RawMessage
	err    error
}

// Dial connects to the server that listens on the socket at path, which may be
// longer than an address of a socket, and is [New] from there on.
func Dial(ctx context.Context, path string, events func(Event)) (*Conn, error) {
	conn, err := dialUnix(ctx, path)
	if err != nil {
		return nil, fmt.Errorf("connect to monitor: %w", err)
	}
	return New(ctx, conn, events)
}

// dialUnix connects by way of /proc: an address has room for 107 bytes.
func dialUnix(ctx context.Context, path string) (*net.UnixConn, error) {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	defer func() { _ = unix.Close(fd) }()
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "unix", fmt.Sprintf("/proc/self/fd/%d", fd))
	if err != nil {
		var sys *os.SyscallError
		if errors.As(err, &sys) {
			return nil, &os.PathError{Op: "connect", Path: path, Err: sys.Err}
		}
		return nil, err
	}
	return conn.(*net.UnixConn), nil
}

// New waits for the server's greeting on conn and makes it ready for commands;
// ctx bounds that. A server serves one client at a time and greets it when it
// has the time: there is nothing to poll for. Each event goes to events, in
// order and one at a time; a call that blocks holds up replies. nil is for
// none. New takes over conn, also when it fails.
func New(ctx context.Context, conn *net.UnixConn, events func(Event)) (*Conn, error) {
	if events == nil {
		events = func(Event) {}
	}
	c := &Conn{
		conn: conn, in: bufio.NewReaderSize(conn, maxMessage), events: events,
		pending: map[uint64]chan answer{}, done: make(chan struct{}),
	}
	if err := c.greet(ctx); err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("wait for monitor's greeting: %w", err)
	}
	go c.read()
	if err := c.Execute(ctx, "qmp_capabilities", nil, nil); err != nil {
		_ = c.Close()
		return nil, err
	}
	return c, nil
}

// greet reads the greeting, which comes before everything else.
func (c *Conn) greet(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { _ = c.conn.SetReadDeadline(time.Unix(1, 0)) })
	m, err := readMessage(c.in)
	if !stop() && ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		return unexpected(err)
	}
	if m.Greeting == nil {
		return &ProtocolError{"something else came before the greeting"}
	}
	c.version = m.Greeting.Version
	return nil
}

// unexpected is err, where the end of the stream is not an orderly one.
func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// Version is what the server has said of itself.
func (c *Conn) Version() Version { return c.version }

// Done is closed when the connection has ended and all its events were told.
func (c *Conn) Done() <-chan struct{} { return c.done }

// Close ends the connection. The server goes on, and serves the next client.
// When it returns no event is told any more, so that it must not be called by
// who is told one.
func (c *Conn) Close() error {
	c.end(ErrClosed)
	err := c.conn.Close()
	<-c.done
	if errors.Is(err, net.ErrClosed) {
		return nil // it had ended before
	}
	return err
}

// end notes why the connection ends; the first reason stays.
func (c *Conn) end(why error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil {
		c.err = why
	}
}

// read takes what the server sends until the connection ends.
func (c *Conn) read() {
	err := c.receive()
	c.end(fmt.Errorf("read from monitor: %w", unexpected(err)))
	_ = c.conn.Close()
	close(c.done)
}

func (c *Conn) receive() error {
	for {
		m, err := readMessage(c.in)
		if err != nil {
			return err
		}
		switch {
		case m.Greeting != nil:
			return &ProtocolError{"a second greeting"}
		case m.Event != "":
			at := time.Unix(m.Stamp.Seconds, m.Stamp.Microseconds*int64(time.Microsecond/time.Nanosecond))
			c.events(Event{Name: m.Event, Data: m.Data, At: at})
		default:
			if err := c.reply(m); err != nil {
				return err
			}
		}
	}
}

// reply gives a reply to who waits for it. One that nobody waits for any more
// is dropped.
func (c *Conn) reply(m message) error {
	if m.ID == nil {
		// It could not read the command's number, so that nobody can be told.
		if m.Error != nil {
			return fmt.Errorf("the monitor did not understand: %w", m.Error)
		}
		return &ProtocolError{"a reply without a number"}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if *m.ID == 0 || *m.ID > c.last {
		return &ProtocolError{fmt.Sprintf("a reply to command %d, which was not sent", *m.ID)}
	}
	waiting, ok := c.pending[*m.ID]
	if !ok {
		return nil
	}
	delete(c.pending, *m.ID)
	a := answer{result: m.Return}
	if m.Error != nil {
		a.err = m.Error
	}
	waiting <- a
	return nil
}
