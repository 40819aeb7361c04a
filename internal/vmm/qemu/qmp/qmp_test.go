package qmp_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/unifaas/unifaas/internal/vmm/qemu/qmp"
)

const hello = `{"QMP": {"version": {"qemu": {"micro": 22, "minor": 2, "major": 7}, "package": "Debian"}, "capabilities": ["oob"]}}`

// A script is what a server does with a connection.
type script func(s *server)

// A server is the other end of a connection.
type server struct {
	*testing.T
	conn *net.UnixConn
	in   *bufio.Reader
}

func (s *server) say(format string, args ...any) { fmt.Fprintf(s.conn, format+"\r\n", args...) }

// hear reads a command and returns its number.
func (s *server) hear(name string) uint64 {
	line, err := s.in.ReadString('\n')
	if err != nil {
		s.Errorf("server: wait for %s: %v", name, err)
		return 0
	}
	var command struct {
		Execute string
		ID      uint64
	}
	if err := json.Unmarshal([]byte(line), &command); err != nil || command.Execute != name {
		s.Errorf("server: got %q, want %s", line, name)
	}
	return command.ID
}

// greet does what comes before the first command.
func (s *server) greet() {
	s.say(hello)
	s.say(`{"return": {}, "id": %d}`, s.hear("qmp_capabilities"))
}

// serve runs script on a socket with a path that is too long for an address.
func serve(t *testing.T, run script) (path string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), strings.Repeat("long/", 30))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	root, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Net: "unix", Name: fmt.Sprintf("/proc/self/fd/%d/s", root.Fd())})
	if err != nil {
		t.Fatal(err)
	}
	listener.SetUnlinkOnClose(false)
	var served sync.WaitGroup
	served.Go(func() {
		conn, err := listener.AcceptUnix()
		if err != nil {
			return
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
		run(&server{t, conn, bufio.NewReader(conn)})
	})
	t.Cleanup(func() { listener.Close(); served.Wait() })
	return filepath.Join(dir, "s")
}

func dial(t *testing.T, run script, events func(qmp.Event)) *qmp.Conn {
	t.Helper()
	c, err := qmp.Dial(t.Context(), serve(t, run), events)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func TestVersion(t *testing.T) {
	c := dial(t, (*server).greet, nil)
	v := c.Version()
	if v.String() != "7.2.22" || v.Package != "Debian" || !v.AtLeast(7, 2) || v.AtLeast(7, 3) || v.AtLeast(8, 0) || !v.AtLeast(6, 9) {
		t.Errorf("got %+v", v)
	}
}

// TestRepliesAndEvents: an event before a reply, and replies in another order
// than their commands.
func TestRepliesAndEvents(t *testing.T) {
	var events []string
	c := dial(t, func(s *server) {
		s.greet()
		first, second := s.hear("query"), s.hear("query")
		s.say(`{"event": "STOP", "data": {"a": 1}, "timestamp": {"seconds": 12, "microseconds": 500000}}`)
		s.say(`{"return": %d, "id": %[1]d}`, second)
		s.say(`{"return": %d, "id": %[1]d}`, first)
		s.say(`{"event": "RESUME", "timestamp": {"seconds": 13, "microseconds": 0}}`)
	}, func(e qmp.Event) { events = append(events, fmt.Sprintf("%s %s %d", e.Name, e.Data, e.At.UnixMilli())) })
	var both sync.WaitGroup
	got := make([]int, 2)
	for i := range got {
		both.Go(func() {
			if err := c.Execute(t.Context(), "query", map[string]int{"n": i}, &got[i]); err != nil {
				t.Error(err)
			}
		})
	}
	both.Wait()
	<-c.Done()
	if got[0]+got[1] != 2+3 {
		t.Errorf("replies: got %v, want those of commands 2 and 3", got)
	}
	if diff := cmp.Diff([]string{`STOP {"a": 1} 12500`, "RESUME  13000"}, events); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}

func TestRefusal(t *testing.T) {
	c := dial(t, func(s *server) {
		s.greet()
		s.say(`{"error": {"class": "GenericError", "desc": "no such thing"}, "id": %d}`, s.hear("cont"))
		s.say(`{"return": {}, "id": %d}`, s.hear("cont"))
		s.say(`{"return": [], "id": %d}`, s.hear("query"))
	}, nil)
	err := c.Execute(t.Context(), "cont", nil, nil)
	var refused *qmp.Error
	if !errors.As(err, &refused) || refused.Class != "GenericError" || err.Error() != "execute cont: no such thing" {
		t.Errorf("got %v", err)
	}
	if err := c.Execute(t.Context(), "cont", nil, nil); err != nil {
		t.Errorf("after a refusal: %v", err)
	}
	var wrong *qmp.ProtocolError
	if err := c.Execute(t.Context(), "query", nil, &struct{}{}); !errors.As(err, &wrong) {
		t.Errorf("a result of another type: got %v", err)
	}
}

// TestGivenUp: a command whose reply comes when nobody waits any more.
func TestGivenUp(t *testing.T) {
	late := make(chan struct{})
	c := dial(t, func(s *server) {
		s.greet()
		slow := s.hear("slow")
		<-late
		s.say(`{"return": 1, "id": %d}`, slow)
		s.say(`{"return": 2, "id": %d}`, s.hear("quick"))
	}, nil)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := c.Execute(ctx, "slow", nil, nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	close(late)
	var got int
	if err := c.Execute(t.Context(), "quick", nil, &got); err != nil || got != 2 {
		t.Errorf("the next command: got %d, %v", got, err)
	}
	if err := c.Execute(ctx, "never", nil, nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("without time: got %v", err)
	}
}

func TestSendFile(t *testing.T) {
	c := dial(t, func(s *server) {
		s.greet()
		text, rights := make([]byte, 1000), make([]byte, 1000)
		n, m, _, _, err := s.conn.ReadMsgUnix(text, rights)
		if err != nil || !strings.Contains(string(text[:n]), `"fdname":"state"`) {
			s.Errorf("server: got %q, %v", text[:n], err)
		}
		messages, err := unix.ParseSocketControlMessage(rights[:m])
		if err != nil || len(messages) != 1 {
			s.Errorf("server: got %v, %v", messages, err)
			return
		}
		fds, err := unix.ParseUnixRights(&messages[0])
		if err != nil || len(fds) != 1 {
			s.Errorf("server: got %v, %v", fds, err)
			return
		}
		file := os.NewFile(uintptr(fds[0]), "got")
		fmt.Fprint(file, "written")
		file.Close()
		s.say(`{"return": {}, "id": 2}`)
	}, nil)
	in, out, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	if err := c.SendFile(t.Context(), "state", out); err != nil {
		t.Fatal(err)
	}
	out.Close()
	if got, err := io.ReadAll(in); err != nil || string(got) != "written" {
		t.Errorf("got %q, %v", got, err)
	}
}

// TestBadGreeting: what can come instead of a server that is ready.
func TestBadGreeting(t *testing.T) {
	for _, test := range []struct {
		name string
		run  script
		want string
	}{
		{"nothing", func(*server) {}, io.ErrUnexpectedEOF.Error()},
		{"half", func(s *server) { fmt.Fprint(s.conn, hello[:20]) }, io.ErrUnexpectedEOF.Error()},
		{"event", func(s *server) { s.say(`{"event": "STOP"}`) }, "before the greeting"},
		{"words", func(s *server) { s.say("\x1b[1mqemu> ") }, `in "\x1b[1mqemu>"`},
		{"empty object", func(s *server) { s.say("{}") }, "neither greeting, reply nor event"},
		{"too long", func(s *server) { s.say("%s", strings.Repeat(" ", 2<<20)) }, "more than 1048576 bytes"},
		{"cut before its reply", func(s *server) { s.say(hello); s.hear("qmp_capabilities") }, io.ErrUnexpectedEOF.Error()},
		{"refused", func(s *server) {
			s.say(hello)
			s.say(`{"error": {"class": "CommandNotFound", "desc": "not now"}, "id": %d}`, s.hear("qmp_capabilities"))
		}, "qmp_capabilities: not now"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if _, err := qmp.Dial(t.Context(), serve(t, test.run), nil); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}

// TestBrokenLater: what ends a connection that a command waits on.
func TestBrokenLater(t *testing.T) {
	for _, test := range []struct{ name, say, want string }{
		{"cut", "", io.ErrUnexpectedEOF.Error()},
		{"greeting", hello, "a second greeting"},
		{"no number", `{"return": {}}`, "without a number"},
		{"not understood", `{"error": {"class": "GenericError", "desc": "JSON parse error"}}`, "did not understand: JSON parse error"},
		{"number of no command", `{"return": {}, "id": 99}`, "command 99, which was not sent"},
		{"number that is none", `{"return": {}, "id": "a"}`, "not of QEMU's machine protocol"},
		{"two in one", `{"return": {}, "event": "STOP", "id": 2}`, "neither"},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := dial(t, func(s *server) {
				s.greet()
				s.hear("cont")
				if test.say != "" {
					s.say("%s", test.say)
				}
			}, nil)
			for range 2 { // the reason stays
				if err := c.Execute(t.Context(), "cont", nil, nil); err == nil || !strings.Contains(err.Error(), test.want) {
					t.Errorf("got %v, want %q", err, test.want)
				}
			}
		})
	}
}

func TestClosed(t *testing.T) {
	c := dial(t, (*server).greet, nil)
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	if err := c.Execute(t.Context(), "cont", nil, nil); err == nil {
		t.Error("a closed connection took a command")
	}
}

func TestDialFails(t *testing.T) {
	path := filepath.Join(t.TempDir(), "none")
	if _, err := qmp.Dial(t.Context(), path, nil); !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), path) {
		t.Errorf("got %v", err)
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	dead := filepath.Join(t.TempDir(), "dead")
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: dead}); err != nil {
		t.Fatal(err)
	}
	if _, err := qmp.Dial(t.Context(), dead, nil); !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("nobody listens: got %v", err)
	}
}

// TestOutOfTime: a server that never greets.
func TestOutOfTime(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	_, err := qmp.Dial(ctx, serve(t, func(s *server) { _, _ = s.in.ReadByte() }), nil)
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}
