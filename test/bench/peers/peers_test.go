package peers

import (
	"archive/tar"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/unifaas/unifaas/internal/faas"
	"github.com/unifaas/unifaas/test/bench/proc"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestNginxReachesTheFunction(t *testing.T) {
	if _, err := FindNginx(); err != nil {
		t.Skip(err)
	}
	seen := make(chan http.Header, 4)
	srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/hello" {
			seen <- r.Header
		}
	}))
	defer srv.Close()
	upstream := strings.TrimPrefix(srv.URL, "http://")
	for _, same := range []bool{false, true} {
		t.Run(fmt.Sprint("same headers ", same), func(t *testing.T) {
			dir := t.TempDir()
			group := proc.NewGroup(dir)
			defer group.Close()
			port, err := proc.FreePort()
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			if _, err := Nginx(ctx, group, NginxOptions{"nginx", dir, upstream, port, same}, "/hello"); err != nil {
				t.Fatal(err)
			}
			header := <-seen
			for _, name := range []string{"X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "X-Request-Id", "Traceparent"} {
				if got := header.Get(name); (got != "") != same {
					t.Errorf("the function saw %s: %q", name, got)
				}
			}
			conn, err := net.Dial("tcp", proc.Local(port))
			if err != nil {
				t.Fatal(err)
			}
			if err := ask(ctx, conn, "/elsewhere"); err == nil {
				t.Error("a path that is not the function's was answered with 200")
			}
		})
	}
}

func revision(rootfs string) *faas.Revision {
	return &faas.Revision{
		Function: faas.Function{
			Ref: faas.NewRef("f"), Port: 8080, Command: []string{"/f"},
			Limits: faas.Limits{Memory: 128 << 20, CPUs: 1.5, Pids: 128},
		},
		Image: faas.Image{Rootfs: rootfs},
	}
}

func TestBundles(t *testing.T) {
	rev := revision("/some/rootfs")
	for _, c := range []struct {
		name   string
		make   func() (*specs.Spec, error)
		memory int64
		netns  string
		hard   bool
	}{
		{"runsc", func() (*specs.Spec, error) { return runscSpec(rev, "/group/f", "/some/netns") }, 176 << 20, "/some/netns", false},
		{"runc", func() (*specs.Spec, error) { return runcSpec(rev, "/group/f") }, 128 << 20, "", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			made, err := c.make()
			if err != nil {
				t.Fatal(err)
			}
			dir := t.TempDir()
			if err := writeSpec(dir, made); err != nil {
				t.Fatal(err)
			}
			text, err := os.ReadFile(filepath.Join(dir, "config.json"))
			if err != nil {
				t.Fatal(err)
			}
			var spec specs.Spec
			if err := json.Unmarshal(text, &spec); err != nil {
				t.Fatal(err)
			}
			netns, r := "not there", spec.Linux.Resources
			for _, n := range spec.Linux.Namespaces {
				if n.Type == specs.NetworkNamespace {
					netns = n.Path
				}
			}
			if *r.Memory.Limit != c.memory || *r.CPU.Quota != 150_000 || spec.Root.Path != "/some/rootfs" || !spec.Root.Readonly ||
				spec.Linux.CgroupsPath != "/group/f" || spec.Process.Args[0] != "/f" || netns != c.netns {
				t.Errorf("specification is %s", text)
			}
			if hard := spec.Linux.Seccomp != nil && len(spec.Linux.MaskedPaths) > 0 && len(spec.Linux.ReadonlyPaths) > 0 && len(r.Devices) > 0; hard != c.hard {
				t.Errorf("Docker's protections are there: %v; specification is %s", hard, text)
			}
		})
	}
}

func TestLayerHoldsTheProgram(t *testing.T) {
	program := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(program, []byte("machine code"), 0o600); err != nil {
		t.Fatal(err)
	}
	layer, err := layerOf(program)
	if err != nil {
		t.Fatal(err)
	}
	r := tar.NewReader(layer)
	header, err := r.Next()
	if err != nil {
		t.Fatal(err)
	}
	content, err := io.ReadAll(r)
	if err != nil || string(content) != "machine code" || header.Name != "program" || header.Mode != 0o755 {
		t.Errorf("%+v %q %v", header, content, err)
	}
	if _, err := r.Next(); !errors.Is(err, io.EOF) {
		t.Errorf("there is more in it: %v", err)
	}
}

// fakeSentry answers one call of the control protocol and, when answer says
// success, one HTTP request on the file that came with it.
func fakeSentry(t *testing.T, socket, answer string) {
	t.Helper()
	ln, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	t.Cleanup(func() { _ = ln.Close(); <-done })
	go func() {
		defer close(done)
		conn, err := ln.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		request, oob := make([]byte, 4096), make([]byte, 64)
		n, oobn, _, _, err := conn.(*net.UnixConn).ReadMsgUnix(request, oob)
		if err != nil {
			t.Error(err)
			return
		}
		const want = `{"arg":{"ContainerID":"c1","Port":8080},"method":"containerManager.PortForward"}`
		if string(request[:n]) != want {
			t.Errorf("was asked %s", request[:n])
		}
		messages, err := unix.ParseSocketControlMessage(oob[:oobn])
		if err != nil || len(messages) != 1 {
			t.Errorf("%d files came: %v", len(messages), err)
			return
		}
		fds, err := unix.ParseUnixRights(&messages[0])
		if err != nil {
			t.Error(err)
			return
		}
		file := os.NewFile(uintptr(fds[0]), "function")
		defer file.Close()
		_, _ = io.WriteString(conn, answer)
		if strings.Contains(answer, "true") {
			_, _ = file.Read(make([]byte, 512))
			_, _ = io.WriteString(file, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
		}
	}()
}

func TestPortForward(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	fakeSentry(t, socket, `{"success":true,"err":"","result":{}}`)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	conn, err := portForward(ctx, socket, "c1", 8080)
	if err != nil {
		t.Fatal(err)
	}
	if err := ask(ctx, conn, "/hello"); err != nil {
		t.Error(err)
	}
}

func TestPortForwardTellsTheSandboxsError(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	fakeSentry(t, socket, `{"success":false,"err":"connection refused","result":null}`)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if _, err := portForward(ctx, socket, "c1", 8080); err == nil || !strings.Contains(err.Error(), "connection refused") {
		t.Errorf("error is %v", err)
	}
}

func TestMissingProgramsAreNamed(t *testing.T) {
	if _, err := find("no-such-program-here", "apt-get install it"); err == nil || !strings.Contains(err.Error(), "apt-get install it") {
		t.Errorf("error is %v", err)
	}
}
