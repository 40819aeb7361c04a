package load

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"
)

// A client sends GET requests one after another over one connection. It knows
// as much HTTP/1.1 as the answers of a function of ours need: a head, then a
// body of known length. It is there because net/http's client costs several
// times as much as the servers that are measured on the same cores.
type client struct {
	address string
	conn    net.Conn
	in      *bufio.Reader
}

const answerTimeout = 30 * time.Second

// get returns nil when path was answered with 200. After an error the next
// request gets a new connection.
func (c *client) get(path string) error {
	err := c.exchange(path)
	if err != nil {
		c.close()
	}
	return err
}

func (c *client) exchange(path string) error {
	if c.conn == nil {
		conn, err := net.DialTimeout("tcp", c.address, answerTimeout)
		if err != nil {
			return err
		}
		c.conn, c.in = conn, bufio.NewReader(conn)
	}
	if err := c.conn.SetDeadline(time.Now().Add(answerTimeout)); err != nil {
		return err
	}
	if _, err := io.WriteString(c.conn, "GET "+path+" HTTP/1.1\r\nHost: "+c.address+"\r\n\r\n"); err != nil {
		return err
	}
	return c.readAnswer()
}

func (c *client) readAnswer() error {
	status, err := c.in.ReadSlice('\n')
	if err != nil {
		return err
	}
	if !strings.HasPrefix(string(status), "HTTP/1.1 200 ") {
		return fmt.Errorf("answered %q", strings.TrimSpace(string(status)))
	}
	length, stays := -1, true
	for {
		line, err := c.in.ReadSlice('\n')
		if err != nil {
			return err
		}
		if len(line) <= 2 { // the empty line
			break
		}
		name, value, _ := strings.Cut(string(line), ":")
		switch value = strings.TrimSpace(value); {
		case strings.EqualFold(name, "Content-Length"):
			if length, err = strconv.Atoi(value); err != nil {
				return fmt.Errorf("bad Content-Length: %w", err)
			}
		case strings.EqualFold(name, "Connection") && strings.EqualFold(value, "close"):
			stays = false
		}
	}
	if length < 0 {
		return errors.New("answered without Content-Length")
	}
	if _, err := c.in.Discard(length); err != nil {
		return err
	}
	if !stays {
		c.close()
	}
	return nil
}

func (c *client) close() {
	if c.conn != nil {
		_ = c.conn.Close()
		c.conn = nil
	}
}
