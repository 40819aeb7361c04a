package control_test

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/unifaas/unifaas/internal/control"
	"github.com/unifaas/unifaas/internal/faas"
	"github.com/unifaas/unifaas/internal/logs"
)

type backend struct{ control.Deployer }

func (backend) Status() control.Status        { return control.Status{Version: "v1", Node: "uabcde"} }
func (backend) Functions() []control.Function { return []control.Function{{Name: "a"}, {Name: "b"}} }
func (backend) Instances() []control.Instance { return []control.Instance{{ID: "i", Memory: 7}} }
func (backend) Describe(name string) (*control.Detail, error) {
	if name != "a/b c" {
		return nil, faas.Errorf(faas.KindNotFound, "no function %q", name)
	}
	return &control.Detail{Digest: "sha256:x"}, nil
}

func (backend) Logs(ctx context.Context, q control.LogQuery, emit func(logs.Entry) error) error {
	if q.Function == "missing" {
		return faas.Errorf(faas.KindNotFound, "no function %q", q.Function)
	}
	if err := emit(logs.Entry{Text: "first", Instance: q.Instance}); err != nil {
		return err
	}
	if q.Follow {
		<-ctx.Done()
	}
	return nil
}

func serve(t *testing.T, runDir string) (*control.Client, *control.Server) {
	t.Helper()
	s, err := control.Listen(runDir, "", backend{}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Serve() }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := s.Stop(ctx); err != nil {
			t.Error(err)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return control.NewClient(runDir), s
}

func TestClientAndServerAgree(t *testing.T) {
	// Deeper than a socket address is long.
	runDir := filepath.Join(t.TempDir(), strings.Repeat("d", 120))
	if err := os.Mkdir(runDir, 0o700); err != nil {
		t.Fatal(err)
	}
	c, _ := serve(t, runDir)
	ctx := t.Context()
	if s, err := c.Status(ctx); err != nil || s.Node != "uabcde" {
		t.Errorf("status %+v, %v", s, err)
	}
	if f, err := c.Functions(ctx); err != nil || len(f) != 2 || f[1].Name != "b" {
		t.Errorf("functions %+v, %v", f, err)
	}
	if i, err := c.Instances(ctx); err != nil || len(i) != 1 || i[0].Memory != 7 {
		t.Errorf("instances %+v, %v", i, err)
	}
	if d, err := c.Describe(ctx, "a/b c"); err != nil || d.Digest != "sha256:x" {
		t.Errorf("describe %+v, %v", d, err)
	}
	if _, err := c.Describe(ctx, "z"); faas.KindOf(err) != faas.KindNotFound || err.Error() != `no function "z"` {
		t.Errorf("describe of a missing function: %v", err)
	}
	info, err := os.Stat(filepath.Join(runDir, control.SocketName))
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o600 {
		t.Errorf("socket has mode %v, want 0600", info.Mode().Perm())
	}
}

func TestLogsAreStreamed(t *testing.T) {
	c, _ := serve(t, t.TempDir())
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	lines := 0
	err := c.Logs(ctx, control.LogQuery{Function: "a", Instance: "i9", Follow: true}, func(e logs.Entry) error {
		if e.Text != "first" || e.Instance != "i9" {
			t.Errorf("line %+v", e)
		}
		lines++
		cancel() // got it while the server still follows
		return nil
	})
	if err != nil || lines != 1 {
		t.Errorf("%d lines, %v", lines, err)
	}
	err = c.Logs(t.Context(), control.LogQuery{Function: "missing"}, func(logs.Entry) error { return nil })
	if faas.KindOf(err) != faas.KindNotFound {
		t.Errorf("logs of a missing function: %v", err)
	}
}

func TestNoPlatformIsSaidWithTheRemedy(t *testing.T) {
	for _, dir := range []string{t.TempDir(), filepath.Join(t.TempDir(), "none")} {
		_, err := control.NewClient(dir).Status(t.Context())
		if faas.KindOf(err) != faas.KindUnavailable || !strings.Contains(err.Error(), "unifaas up") {
			t.Errorf("no platform: %v", err)
		}
	}
}

func TestAnOldSocketIsReplaced(t *testing.T) {
	dir := t.TempDir()
	first, err := control.Listen(dir, "", backend{}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if err := first.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	c, _ := serve(t, dir)
	if _, err := c.Status(t.Context()); err != nil {
		t.Error(err)
	}
}
