package control_test

import (
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/unifaas/unifaas/internal/guest/linux/control"
	"github.com/unifaas/unifaas/internal/guest/linux/wire"
)

// A world is a Guest and what it was made with.
type world struct {
	*control.Guest
	ln     net.Listener
	output string
	phases []string // read it after Close
}

func listen(t *testing.T, change func(*control.Options)) *world {
	t.Helper()
	w := &world{output: filepath.Join(t.TempDir(), "output")}
	out, err := os.Create(w.output)
	if err != nil {
		t.Fatal(err)
	}
	if w.ln, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	o := control.Options{ID: "n-1", Output: out, Phase: func(p wire.Phase) { w.phases = append(w.phases, p.Name) }}
	if change != nil {
		change(&o)
	}
	w.Guest = control.Listen(w.ln, o)
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
		_ = out.Close()
	})
	return w
}

// dial is a guest's connection, on which it has said these frames.
func (w *world) dial(t *testing.T, frames ...[]byte) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", w.ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	for _, f := range frames {
		if _, err := conn.Write(f); err != nil {
			t.Fatal(err)
		}
	}
	return conn
}

func hello(change func(*wire.Hello)) []byte {
	h := wire.Hello{Version: wire.Version, ID: "n-1", Phases: []wire.Phase{{Name: "kernel"}, {Name: "started"}}}
	if change != nil {
		change(&h)
	}
	return wire.AppendJSON(nil, wire.KindHello, h)
}

func await(t *testing.T, what string, event <-chan struct{}) {
	t.Helper()
	select {
	case <-event:
	case <-time.After(10 * time.Second):
		t.Fatalf("no %s", what)
	}
}

// ended waits for the host to end a connection.
func ended(t *testing.T, conn net.Conn) {
	t.Helper()
	_ = conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.Copy(io.Discard, conn); err != nil && !strings.Contains(err.Error(), "reset") {
		t.Errorf("the connection goes on: %v", err)
	}
}

func TestLife(t *testing.T) {
	w := listen(t, func(o *control.Options) { o.Set = func() wire.Set { return wire.Set{Time: 5} } })
	conn := w.dial(t, hello(nil))
	await(t, "hello", w.Up())
	kind, payload, err := wire.NewReader(conn).Next()
	if err != nil || kind != wire.KindSet || !strings.Contains(string(payload), `"Time":5`) {
		t.Errorf("the guest hears %q %s, %v", kind, payload, err)
	}
	if err := w.Stop(15); err != nil {
		t.Error(err)
	}
	if kind, payload, err := wire.NewReader(conn).Next(); err != nil || kind != wire.KindStop || string(payload) != `{"Signal":15}` {
		t.Errorf("the guest hears %q %s, %v", kind, payload, err)
	}
	for _, f := range [][]byte{
		wire.Append(nil, wire.KindOutput, []byte("one ")),
		wire.AppendJSON(nil, wire.KindReady, wire.Phase{Name: "ready"}),
		wire.Append(nil, 'Z', []byte("of a newer guest")),
		wire.Append(nil, wire.KindOutput, []byte("two")),
		wire.AppendJSON(nil, wire.KindExit, wire.Exit{Code: 3}),
	} {
		if _, err := conn.Write(f); err != nil {
			t.Fatal(err)
		}
	}
	await(t, "ready", w.Ready())
	await(t, "exit", w.Exited())
	ended(t, conn)
	if e := w.Exit(); e.Code != 3 {
		t.Errorf("exit: got %+v", e)
	}
	if text, err := os.ReadFile(w.output); string(text) != "one two" {
		t.Errorf("output: got %q, %v", text, err)
	}
	if err := w.Close(); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff([]string{"kernel", "started", "ready"}, w.phases); diff != "" {
		t.Errorf("phases (-want +got):\n%s", diff)
	}
}

// TestComesBack: a second connection takes the place of the first.
func TestComesBack(t *testing.T) {
	w := listen(t, nil)
	first := w.dial(t, hello(nil))
	await(t, "hello", w.Up())
	second := w.dial(t, hello(func(h *wire.Hello) { h.Ready = true }))
	await(t, "ready", w.Ready())
	ended(t, first)
	if _, err := second.Write(wire.AppendJSON(nil, wire.KindExit, wire.Exit{Signal: 9, OutOfMemory: true})); err != nil {
		t.Fatal(err)
	}
	await(t, "exit", w.Exited())
	if err := w.Close(); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff([]string{"kernel", "started"}, w.phases); diff != "" {
		t.Errorf("phases (-want +got):\n%s", diff)
	}
}

// TestStrangers are not heard, and are in nobody's way.
func TestStrangers(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*control.Options)
		say    []byte
		want   string
	}{
		"another guest":   {nil, hello(func(h *wire.Hello) { h.ID = "n-2" }), `says it is "n-2"`},
		"another version": {nil, hello(func(h *wire.Hello) { h.Version = 99 }), "version 99"},
		"no hello":        {nil, wire.AppendJSON(nil, wire.KindExit, wire.Exit{}), "want 'H'"},
		"no JSON":         {nil, wire.Append(nil, wire.KindHello, []byte("{")), "guest's 'H'"},
		"too long":        {nil, []byte{'H', 255, 0, 0, 0}, "longer than"},
		"another address": {func(o *control.Options) { o.Address = net.IPv4(10, 0, 0, 1) }, nil, "not the guest 10.0.0.1"},
		"the function":    {func(o *control.Options) { o.BelowPort = 1024 }, nil, "below 1024"},
	} {
		t.Run(name, func(t *testing.T) {
			w := listen(t, c.change)
			ended(t, w.dial(t, c.say))
			deadline := time.Now().Add(5 * time.Second)
			for w.Failure() == nil && time.Now().Before(deadline) {
				time.Sleep(time.Millisecond)
			}
			if err := w.Failure(); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want an error with %q", err, c.want)
			}
			select {
			case <-w.Up():
				t.Error("it is heard")
			case <-w.Exited():
				t.Error("it is believed")
			default:
			}
		})
	}
}

func TestSilentStrangerIsInNobodysWay(t *testing.T) {
	w := listen(t, nil)
	w.dial(t)
	w.dial(t, hello(func(h *wire.Hello) { h.Ready = true }))
	await(t, "ready", w.Ready())
}

func TestNotConnected(t *testing.T) {
	w := listen(t, nil)
	if err := w.Stop(15); err == nil {
		t.Error("nobody is told")
	}
}

// TestConnectionsHaveAnEnd has a guest make one after the other and say nothing: it
// gets a few, and is heard again once those are gone.
func TestConnectionsHaveAnEnd(t *testing.T) {
	w := listen(t, nil)
	var open []net.Conn
	for range 20 {
		open = append(open, w.dial(t))
	}
	refused := 0
	for _, conn := range open[4:] {
		_ = conn.SetReadDeadline(time.Now().Add(10 * time.Second))
		if _, err := conn.Read(make([]byte, 1)); err != nil && !os.IsTimeout(err) {
			refused++
		}
	}
	if refused != len(open)-4 {
		t.Errorf("%d of %d were refused, want all but 4", refused, len(open))
	}
	for _, conn := range open {
		_ = conn.Close()
	}
	// The host may not have seen their end yet.
	for began := time.Now(); time.Since(began) < 10*time.Second; time.Sleep(10 * time.Millisecond) {
		w.dial(t, hello(nil))
		select {
		case <-w.Up():
			return
		case <-time.After(50 * time.Millisecond):
		}
	}
	t.Errorf("it is not heard any more: %v", w.Failure())
}
