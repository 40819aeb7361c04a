package qmp

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// A command is what a client sends.
type command struct {
	Execute   string `json:"execute"`
	Arguments any    `json:"arguments,omitempty"`
	ID        uint64 `json:"id"`
}

// Execute has a command carried out and stores what it returns in result,
// unless that is nil. The server's refusal is an [*Error]. ctx bounds the wait
// for the reply; the command itself goes on.
func (c *Conn) Execute(ctx context.Context, name string, arguments, result any) error {
	return c.execute(ctx, name, arguments, result, nil)
}

// SendFile makes file known to the server under name, for a command that comes
// after ("fd:NAME"). The server has its own copy of the descriptor.
func (c *Conn) SendFile(ctx context.Context, name string, file *os.File) error {
	return c.execute(ctx, "getfd", map[string]string{"fdname": name}, nil, file)
}

func (c *Conn) execute(ctx context.Context, name string, arguments, result any, file *os.File) error {
	reply, err := c.send(ctx, name, arguments, file)
	if err != nil {
		return fmt.Errorf("send %s to monitor: %w", name, err)
	}
	got, err := c.await(ctx, reply)
	if err != nil {
		return fmt.Errorf("execute %s: %w", name, err)
	}
	if result == nil {
		return nil
	}
	if err := json.Unmarshal(got, result); err != nil {
		return fmt.Errorf("execute %s: %w", name, &ProtocolError{fmt.Sprintf("%v, in %s", err, excerpt(got))})
	}
	return nil
}

// A pending is a command without a reply.
type pending struct {
	id     uint64
	answer chan answer
}

// await waits for a reply.
func (c *Conn) await(ctx context.Context, p pending) (json.RawMessage, error) {
	select {
	case a := <-p.answer:
		return a.result, a.err
	default:
	}
	select {
	case a := <-p.answer:
		return a.result, a.err
	case <-ctx.Done():
		c.forget(p.id)
		return nil, ctx.Err()
	case <-c.done:
		// The reply may have been the last that came.
		select {
		case a := <-p.answer:
			return a.result, a.err
		default:
			return nil, c.err
		}
	}
}

// send writes a command. Half a command leaves the server in the middle of a
// line, so that a failed write ends the connection.
func (c *Conn) send(ctx context.Context, name string, arguments any, file *os.File) (pending, error) {
	if err := ctx.Err(); err != nil {
		return pending{}, err
	}
	p, err := c.expect()
	if err != nil {
		return p, err
	}
	text, err := json.Marshal(command{Execute: name, Arguments: arguments, ID: p.id})
	if err != nil {
		c.forget(p.id)
		return p, err
	}
	c.write.Lock()
	defer c.write.Unlock()
	_ = c.conn.SetWriteDeadline(time.Time{})
	fired := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(fired)
		_ = c.conn.SetWriteDeadline(time.Unix(1, 0))
	})
	defer func() {
		if !stop() {
			<-fired // so that the deadline is not the next command's
		}
	}()
	if err := c.put(append(text, '\n'), file); err != nil {
		c.forget(p.id)
		c.end(fmt.Errorf("write to monitor: %w", err))
		_ = c.conn.Close()
		if ctx.Err() != nil {
			return p, ctx.Err()
		}
		return p, err
	}
	return p, nil
}

// expect gives the next command its number.
func (c *Conn) expect() (pending, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return pending{}, c.err
	}
	c.last++
	p := pending{c.last, make(chan answer, 1)}
	c.pending[p.id] = p.answer
	return p, nil
}

func (c *Conn) forget(id uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.pending, id)
}

// put writes text, and with its first byte the descriptor of file.
func (c *Conn) put(text []byte, file *os.File) error {
	if file == nil {
		_, err := c.conn.Write(text)
		return err
	}
	// WriteMsgUnix wants a number, which the file must keep until it is sent.
	raw, err := file.SyscallConn()
	if err != nil {
		return err
	}
	var sent error
	err = raw.Control(func(fd uintptr) {
		var n int
		n, _, sent = c.conn.WriteMsgUnix(text, unix.UnixRights(int(fd)), nil)
		if sent == nil && n < len(text) {
			_, sent = c.conn.Write(text[n:])
		}
	})
	if err != nil {
		return err
	}
	return sent
}
