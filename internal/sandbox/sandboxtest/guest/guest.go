package guest

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"time"
)

// A Process is what the guest needs of the program that it runs in. The real
// one is made by [Main]; the scripted fake makes its own, so that an exit ends
// an instance and not the test.
type Process struct {
	Args   []string
	Getenv func(name string) string
	// Environ lists the whole environment as NAME=value.
	Environ func() []string
	Stdout  io.Writer
	Stderr  io.Writer
	// Exit ends the process and does not return.
	Exit func(code int)
	// Crash ends the process by SIGSEGV and does not return.
	Crash func()
	// Listen opens the port on which the guest serves.
	Listen func() (net.Listener, error)
	// Handler answers the requests; nil means [Handler].
	Handler http.Handler
	// Done is closed when the process is being ended; nil means never.
	Done <-chan struct{}
}

// Main runs the guest as the real process that it is in. It does not return
// before the process ends.
func Main() {
	os.Exit(Run(Process{
		Args:    os.Args,
		Getenv:  os.Getenv,
		Environ: os.Environ,
		Stdout:  os.Stdout,
		Stderr:  os.Stderr,
		Exit:    os.Exit,
		Crash:   crash,
		Listen: func() (net.Listener, error) {
			port := os.Getenv(PortEnv)
			if port == "" {
				port = "8080"
			}
			return net.Listen("tcp", ":"+port)
		},
	}))
}

// Run starts the guest in the way that p's environment asks for, and returns
// its exit status once it has ended by itself.
func Run(p Process) int {
	switch mode := p.Getenv(ModeEnv); mode {
	case "":
	case ModeExit:
		fmt.Fprintln(p.Stderr, "guest: exits at once, as asked")
		code, _ := strconv.Atoi(p.Getenv(CodeEnv))
		return code
	case ModeNever, ModeSpin:
		p.sleep(24 * time.Hour)
		return 0
	case ModeLate:
		d, err := time.ParseDuration(p.Getenv(DelayEnv))
		if err != nil {
			return p.fail(err)
		}
		p.sleep(d)
	case ModeGarbage:
		return p.raw("\x16\x03\x01 this is not HTTP\r\n\r\n")
	case ModeHalf:
		return p.raw("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
	default:
		return p.fail(fmt.Errorf("unknown mode %q", mode))
	}
	l, err := p.Listen()
	if err != nil {
		return p.fail(err)
	}
	handler := p.Handler
	if handler == nil {
		handler = Handler(p)
	}
	server := &http.Server{Handler: handler, ReadHeaderTimeout: time.Minute}
	return p.fail(server.Serve(l))
}

func (p Process) fail(err error) int {
	fmt.Fprintln(p.Stderr, "guest:", err)
	return 1
}

func (p Process) sleep(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-p.Done:
	}
}

// raw answers every connection's first bytes with answer and closes it.
func (p Process) raw(answer string) int {
	l, err := p.Listen()
	if err != nil {
		return p.fail(err)
	}
	for {
		conn, err := l.Accept()
		if err != nil {
			return p.fail(err)
		}
		go func() {
			defer conn.Close()
			buf := make([]byte, 4096)
			if _, err := conn.Read(buf); err == nil {
				_, _ = io.WriteString(conn, answer)
			}
		}()
	}
}
