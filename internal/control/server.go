package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"time"

	"github.com/unifaas/unifaas/internal/faas"
	"github.com/unifaas/unifaas/internal/logs"
)

// SocketName is the name of the socket in the run folder.
const SocketName = "control.sock"

// A Server serves the control API.
type Server struct {
	path     string
	backend  Backend
	listener net.Listener
	server   *http.Server
	logger   *slog.Logger
	stop     context.CancelFunc
}

// Listen binds the socket in runDir, for the owner alone or, if group is not
// empty, for the members of that group too. An old socket file is replaced:
// the caller holds the folder's lock.
func Listen(runDir, group string, backend Backend, logger *slog.Logger) (*Server, error) {
	path := filepath.Join(runDir, SocketName)
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("replace control socket: %w", err)
	}
	// The path may be longer than the 108 bytes of a socket address.
	dir, err := os.Open(runDir)
	if err != nil {
		return nil, fmt.Errorf("open run folder: %w", err)
	}
	defer dir.Close()
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), SocketName)})
	if err != nil {
		return nil, fmt.Errorf("bind control socket %q: %w", path, err)
	}
	listener.SetUnlinkOnClose(false) // its name holds a descriptor that is closed by then
	if err := restrict(path, group); err != nil {
		return nil, errors.Join(err, listener.Close())
	}
	ctx, stop := context.WithCancel(context.Background())
	s := &Server{path: path, backend: backend, listener: listener, logger: logger, stop: stop}
	s.server = &http.Server{
		Handler:           s.routes(),
		ReadHeaderTimeout: 10 * time.Second,
		ErrorLog:          slog.NewLogLogger(logger.Handler(), slog.LevelDebug),
		BaseContext:       func(net.Listener) context.Context { return ctx },
	}
	return s, nil
}

func restrict(path, group string) error {
	if group == "" {
		return os.Chmod(path, 0o600)
	}
	g, err := user.LookupGroup(group)
	if err != nil {
		return faas.Errorf(faas.KindInvalid, "control-group: %w", err)
	}
	gid, err := strconv.Atoi(g.Gid)
	if err != nil {
		return fmt.Errorf("control-group %q: %w", group, err)
	}
	if err := os.Chown(path, -1, gid); err != nil {
		return fmt.Errorf("give control socket to group %q: %w", group, err)
	}
	// The folder around it is private; members may pass, not list.
	if err := os.Chmod(filepath.Dir(path), 0o710); err != nil {
		return err
	}
	if err := os.Chown(filepath.Dir(path), -1, gid); err != nil {
		return err
	}
	return os.Chmod(path, 0o660)
}

// Serve serves until Stop.
func (s *Server) Serve() error {
	if err := s.server.Serve(s.listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve control API: %w", err)
	}
	return nil
}

// Stop ends followers of logs, waits for other requests until ctx ends, and
// removes the socket.
func (s *Server) Stop(ctx context.Context) error {
	s.stop()
	// A Serve that comes later is told to stop too; without one, nothing
	// else closes the listener.
	err := errors.Join(s.server.Shutdown(ctx), os.Remove(s.path))
	_ = s.listener.Close()
	return err
}

func (s *Server) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/status", func(w http.ResponseWriter, _ *http.Request) { s.answer(w, s.backend.Status(), nil) })
	mux.HandleFunc("GET /v1/functions", func(w http.ResponseWriter, _ *http.Request) { s.answer(w, s.backend.Functions(), nil) })
	mux.HandleFunc("GET /v1/instances", func(w http.ResponseWriter, _ *http.Request) { s.answer(w, s.backend.Instances(), nil) })
	mux.HandleFunc("GET /v1/functions/{name}", func(w http.ResponseWriter, r *http.Request) {
		detail, err := s.backend.Describe(r.PathValue("name"))
		s.answer(w, detail, err)
	})
	mux.HandleFunc("GET /v1/functions/{name}/logs", s.logs)
	s.deployRoutes(mux)
	s.imageRoutes(mux)
	return mux
}

func (s *Server) answer(w http.ResponseWriter, v any, err error) {
	if err != nil {
		writeError(w, err)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(v); err != nil {
		s.logger.Debug("control client went away", "err", err)
	}
}

// wireError is an error on its way to the client.
type wireError struct {
	Kind    faas.Kind `json:"kind"`
	Message string    `json:"message"`
	Output  string    `json:"output,omitempty"` // of the function that it is about
}

func (e *wireError) error() error {
	err := &faas.Error{Kind: e.Kind, Message: e.Message}
	if e.Output == "" {
		return err
	}
	return &OutputError{Err: err, Text: e.Output}
}

func writeError(w http.ResponseWriter, err error) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusConflict) // the kind in the body is what counts
	_ = json.NewEncoder(w).Encode(wireError{faas.KindOf(err), err.Error(), outputOf(err)})
}

// logs streams entries, one JSON object a line.
func (s *Server) logs(w http.ResponseWriter, r *http.Request) {
	q := LogQuery{Function: r.PathValue("name"), Instance: r.FormValue("instance"), Follow: r.FormValue("follow") == "1"}
	if n, err := strconv.Atoi(r.FormValue("tail")); err == nil {
		q.Tail = n
	}
	flusher := http.NewResponseController(w)
	begun := false
	enc := json.NewEncoder(w)
	err := s.backend.Logs(r.Context(), q, func(e logs.Entry) error {
		begun = true
		if err := enc.Encode(e); err != nil {
			return err
		}
		if q.Follow {
			return flusher.Flush()
		}
		return nil
	})
	if err != nil && !begun {
		writeError(w, err)
	}
}
