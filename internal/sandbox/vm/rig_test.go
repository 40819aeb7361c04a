package vm_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/unifaas/unifaas/internal/faas"
	"github.com/unifaas/unifaas/internal/sandbox"
)

// readyWithin is how long an instance may take, which may be emulated twice.
const readyWithin = 2 * time.Minute

// A rig runs instances of one function.
type rig struct {
	*testing.T
	driver sandbox.Driver
	rev    *faas.Revision
	art    sandbox.Artifact
	host   sandbox.Host
}

// newRig prepares a function with a driver on a host of its own.
func newRig(t *testing.T, rev *faas.Revision, driver func(sandbox.Host) sandbox.Driver) *rig {
	t.Helper()
	dir := t.TempDir()
	r := &rig{T: t, rev: rev, host: sandbox.Host{
		Node: fmt.Sprintf("v%x", time.Now().UnixNano()&0xffffff), StateDir: filepath.Join(dir, "state"), RunDir: filepath.Join(dir, "run"),
	}}
	r.driver = driver(r.host)
	if c, ok := r.driver.(io.Closer); ok {
		t.Cleanup(func() {
			if err := c.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	var err error
	if r.art, err = r.driver.Prepare(t.Context(), rev); err != nil {
		t.Fatal(err)
	}
	return r
}

// start starts an instance and waits until it serves.
func (r *rig) start(id string) sandbox.Instance {
	r.Helper()
	dir := filepath.Join(r.host.RunDir, id)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		r.Fatal(err)
	}
	output, err := os.Create(filepath.Join(r.host.RunDir, id+".out"))
	if err != nil {
		r.Fatal(err)
	}
	defer output.Close()
	i, err := r.driver.Start(r.Context(), r.art, sandbox.Spec{
		ID: r.host.Node + "-" + id, Revision: r.rev, Dir: dir, Output: output, Record: func(any) error { return nil },
	})
	if err != nil {
		r.Fatal(err)
	}
	r.Cleanup(func() {
		if err := i.Stop(context.WithoutCancel(r.Context())); err != nil {
			r.Error(err)
		}
	})
	ctx, cancel := context.WithTimeout(r.Context(), readyWithin)
	defer cancel()
	if err := i.Ready(ctx); err != nil {
		text, _ := os.ReadFile(output.Name())
		r.Fatalf("%v\n%s", err, text)
	}
	return i
}

func (r *rig) ask(i sandbox.Instance, path string) string {
	r.Helper()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return i.Dial(ctx) }}}
	resp, err := client.Get("http://function" + path)
	if err != nil {
		return "error: " + err.Error()
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return "error: " + err.Error()
	}
	return string(text)
}
