package gateway

import (
	"errors"
	"net"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/unifaas/unifaas/internal/http1"
)

// A conn is one client connection. It belongs to one goroutine, or to a loop
// while that waits for a request or runs a short exchange; see inloop.go.
type conn struct {
	g     *Gateway
	nc    link
	sock  *sock  // what nc is; nil when it is something else, which never gets to a loop
	fd    int    // for the sweeper, -1 when unknown
	slot  int    // index in g.conns
	addr  string // the client's address without port
	watch watch
	in    stream
	head  int           // length of the head that in begins with
	wait  time.Duration // how long to wait for the next one
	turns int           // exchanges in the loop since the last event
	x     exchange
	name  string // the function asked for last; saves an allocation per request
}

// firstBuffer is what an idle connection keeps; larger heads get a larger one.
const firstBuffer = 4 << 10

func newConn(g *Gateway, nc link, addr string) *conn {
	c := &conn{g: g, nc: nc, fd: -1, addr: addr}
	if s, ok := nc.(*sock); ok {
		c.sock, c.fd = s, s.fd
	}
	c.wait = g.opts.HeadTimeout // a connection is opened to be used
	c.watch.client = nc
	c.in = stream{
		conn: nc, buf: make([]byte, firstBuffer),
		clock: &g.tick, last: &c.watch.last,
	}
	c.x.c = c
	return c
}

// hostOf returns addr without port, and without a zone: that means nothing
// elsewhere.
func hostOf(addr net.Addr) string {
	if addr == nil {
		return ""
	}
	host, _, err := net.SplitHostPort(addr.String())
	if err != nil {
		host = addr.String()
	}
	host, _, _ = strings.Cut(host, "%")
	return host
}

// unread returns how many bytes wait in the client's socket. Only the sweeper
// calls it: the descriptor is open while c is registered.
func (c *conn) unread() int64 {
	n, err := unix.IoctlGetInt(c.fd, unix.SIOCINQ)
	if err != nil {
		return 0
	}
	return int64(n)
}

// serve goes on from where the loop has left it, or from the beginning. It
// returns when the connection is over or with the loop again.
func (c *conn) serve(from stage) {
	left := false
	defer func() {
		if !left {
			c.g.forget(c)
		}
	}()
	defer c.contain()
	for {
		if from == stageHead {
			if err := c.readHead(c.wait); err != nil {
				c.refuse(err)
				return
			}
		}
		if !c.x.run(from) {
			return
		}
		c.rest()
		if left = c.park(); left {
			return
		}
		from = stageHead
	}
}

// refuse answers a head that could not be read, if somebody waits for that.
func (c *conn) refuse(err error) {
	var refused *http1.Error
	if errors.As(err, &refused) {
		c.x.refuse(refused)
	}
}

// rest prepares for the next request.
func (c *conn) rest() {
	c.shrink()
	c.wait = c.g.opts.KeepAlive
}

// readHead reads until the buffer begins with a whole head. It returns an
// *http1.Error when the client is to be told why not.
func (c *conn) readHead(wait time.Duration) error {
	c.watch.await(phaseIdle, c.g.tick.Load(), wait)
	for seen := 0; ; {
		if data := c.in.buffered(); len(data) > 0 {
			if seen == 0 && c.skipEmptyLine() {
				continue
			}
			end, err := http1.HeadEnd(data, seen)
			switch {
			case err != nil:
				return err
			case end > c.g.opts.MaxHead:
				return tooLong(data)
			case end > 0:
				c.head = end
				return nil
			case len(data) >= c.g.opts.MaxHead:
				return tooLong(data)
			case seen == 0:
				c.watch.await(phaseHead, c.g.tick.Load(), c.g.opts.HeadTimeout)
			}
			seen = len(data)
		}
		if err := c.fillHead(); err != nil {
			if seen > 0 && timedOut(err) {
				return errHeadTimeout
			}
			return err
		}
	}
}

var errHeadTimeout = &http1.Error{Status: 408, Detail: "the request head did not come in time"}

// skipEmptyLine drops one CRLF before a request line, as RFC 9112 section 2.2
// asks for the sake of old clients.
func (c *conn) skipEmptyLine() bool {
	data := c.in.buffered()
	if c.x.emptyLine || len(data) < 2 || data[0] != '\r' || data[1] != '\n' {
		return false
	}
	c.x.emptyLine = true
	c.in.discard(2)
	return true
}

// tooLong tells a target that is too long from too many fields.
func tooLong(data []byte) error {
	for _, b := range data {
		if b == '\n' {
			return http1.ErrHeadLarge
		}
	}
	return http1.ErrTargetLong
}

// fillHead reads once, into a larger buffer where needed.
func (c *conn) fillHead() error {
	if c.in.r == 0 && c.in.w == len(c.in.buf) {
		c.grow(c.g.opts.MaxHead + 1)
	}
	return c.in.fill()
}

func (c *conn) grow(size int) {
	larger := make([]byte, size)
	c.in.w = copy(larger, c.in.buffered())
	c.in.r = 0
	c.in.buf = larger
}

// shrink has the next head begin where the buffer does, and gives up a large
// buffer that is not in use.
func (c *conn) shrink() {
	if c.in.w > c.in.r {
		return
	}
	c.in.r, c.in.w = 0, 0
	if len(c.in.buf) > firstBuffer {
		c.in.buf = make([]byte, firstBuffer)
	}
}
