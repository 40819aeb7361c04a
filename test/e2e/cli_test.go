package e2e

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/unifaas/unifaas/internal/control"
	"github.com/unifaas/unifaas/internal/logs"
)

// cli runs a command of the client and returns its output and exit code.
func (p *platform) cli(t *testing.T, args ...string) (out, errs string, code int) {
	t.Helper()
	cmd := p.command(args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()
}

// cliJSON runs a command that must succeed and decodes what it prints.
func cliJSON[T any](t *testing.T, p *platform, args ...string) (v T) {
	t.Helper()
	out, errs, code := p.cli(t, append(args, "--json")...)
	if code != 0 {
		t.Fatalf("%q ended with %d: %s", args, code, errs)
	}
	dec := json.NewDecoder(strings.NewReader(out))
	if err := dec.Decode(&v); err != nil {
		t.Fatalf("%q printed %q: %v", args, out, err)
	}
	return v
}

func TestCommandsPrintJSON(t *testing.T) {
	p := commonPlatform(t)
	name := p.deploy(t, "shown", "memory = 77")
	p.want(t, name, "/say?text=one-line")

	ps := cliJSON[[]control.Instance](t, p, "ps")
	var own control.Instance
	for _, i := range ps {
		if i.Function == name {
			own = i
		}
	}
	if !strings.HasPrefix(own.ID, p.status.Node+"-") || own.Sandbox != "gvisor" || own.Served != 1 || own.State == "" || own.Created.IsZero() {
		t.Errorf("ps shows %+v", own)
	}
	var listed control.Function
	for _, f := range cliJSON[[]control.Function](t, p, "list") {
		if f.Name == name {
			listed = f
		}
	}
	if listed.Revision == "" || listed.Sandbox != "gvisor" || listed.Instances != 1 || listed.Error != "" {
		t.Errorf("list shows %+v", listed)
	}
	d := cliJSON[control.Detail](t, p, "describe", name)
	if d.Name != name || d.Config == nil || d.Config.Limits.Memory != 77<<20 || len(d.Running) != 1 || d.Running[0].ID != own.ID {
		t.Errorf("describe shows %+v", d)
	}
	eventually(t, "the line to be in the log", func() bool {
		out, _, _ := p.cli(t, "logs", name, "--instance", own.ID, "--json")
		var e logs.Entry
		return json.Unmarshal([]byte(out), &e) == nil && e.Text == "one-line" && e.Instance == own.ID && !e.Time.IsZero()
	})
	if v := cliJSON[map[string]string](t, p, "version"); v["version"] == "" || v["platform"] == "" {
		t.Errorf("version prints %v", v)
	}
	a := cliJSON[struct {
		Status int
		Body   string
		Header http.Header
	}](t, p, "invoke", name, "/hello")
	if a.Status != 200 || a.Body != "hello" || a.Header.Get("X-Request-Id") == "" {
		t.Errorf("invoke prints %+v", a)
	}
}

func TestDoctorTellsOfEverySandbox(t *testing.T) {
	p := commonPlatform(t)
	out, errs, code := p.cli(t, "doctor", "--json")
	if code != 0 {
		t.Fatalf("doctor ended with %d: %s", code, errs)
	}
	var list []map[string]any
	if err := json.Unmarshal([]byte(out), &list); err != nil || len(list) == 0 {
		t.Fatalf("doctor printed %q: %v", out, err)
	}
	for _, s := range list {
		for _, field := range []string{"name", "reason", "remedy"} {
			if _, ok := s[field].(string); !ok {
				t.Errorf("doctor's %v has no %s", s, field)
			}
		}
		works, ok := s["works"].(bool)
		if !ok || !works && (s["reason"] == "" || s["remedy"] == "") {
			t.Errorf("doctor does not tell why and what to do: %v", s)
		}
	}
	if out, _, _ := p.cli(t, "doctor"); !strings.Contains(out, "gvisor") {
		t.Errorf("for people, doctor prints %q", out)
	}
}

func TestExitCodes(t *testing.T) {
	p := commonPlatform(t)
	name := p.deploy(t, "codes", "timeout = { first-byte = \"300ms\" }")
	down := p.deploy(t, "codes-down", "start-timeout = \"20s\"\n[env]\nGUEST_MODE = \"exit\"\nGUEST_CODE = \"3\"")
	nobody := filepath.Join(p.tmp, "nobody")
	for _, c := range []struct {
		name string
		args []string
		code int
		says string // on standard error
	}{
		{"success", []string{"invoke", name, "/hello"}, 0, ""},
		{"unknown command", []string{"inwoke"}, 2, "inwoke"},
		{"unknown flag", []string{"ps", "--jsn"}, 2, "--jsn"},
		{"unknown function", []string{"describe", "nobody"}, 3, "nobody"},
		{"logs of an unknown function", []string{"logs", "nobody"}, 3, "nobody"},
		{"invoke an unknown function", []string{"invoke", "nobody"}, 3, ""},
		{"no platform", []string{"--run-dir", nobody, "ps"}, 4, "unifaas up"},
		{"a function that can't start", []string{"invoke", down}, 6, ""},
		{"a function that is too slow", []string{"invoke", name, "/wait"}, 7, ""},
		{"a second platform in our folders", []string{"up", "--functions", p.functions, "--listen", "127.0.0.1:0"}, 2, "in use"},
		{"an address that is none", []string{"up", "--listen", "8123"}, 2, "listen"},
		{"a missing configuration file", []string{"--config", nobody, "ps"}, 2, "nobody"},
	} {
		t.Run(c.name, func(t *testing.T) {
			out, errs, code := p.cli(t, c.args...)
			if code != c.code || !strings.Contains(errs, c.says) {
				t.Errorf("%q ended with %d, want %d; it says %q, want %q\n%s", c.args, code, c.code, errs, c.says, out)
			}
		})
	}
}

func TestLogsFollow(t *testing.T) {
	p := commonPlatform(t)
	name := p.deploy(t, "followed", "")
	p.want(t, name, "/say?text=first")
	cmd := p.command("logs", "-f", "-n", "1", name)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for _, text := range []string{"first", "second", "third"} {
		if text != "first" {
			p.want(t, name, "/say?err=1&text="+text)
		}
		if !lines.Scan() || !strings.HasSuffix(lines.Text(), " "+text) {
			t.Fatalf("followed %q, want %q", lines.Text(), text)
		}
	}
	if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("after SIGINT: %v, want exit 0", err)
	}
}

func TestAdminPortAndControlSocket(t *testing.T) {
	p := commonPlatform(t)
	name := p.deploy(t, "measured", "")
	p.want(t, name, "/hello")
	metrics := adminGet(t, p, "/metrics")
	for _, want := range []string{
		`function="` + name + `"`, "unifaas_cold_start_phase_seconds_bucket", "process_resident_memory_bytes",
	} {
		if !strings.Contains(metrics, want) {
			t.Errorf("/metrics lacks %s", want)
		}
	}
	for _, word := range []string{"invocations", "queue", "instances", "memory", "wait"} {
		if !hasMetric(metrics, word) {
			t.Errorf("/metrics has no unifaas metric of %s", word)
		}
	}
	adminGet(t, p, "/healthz")
	adminGet(t, p, "/readyz")
	socket := filepath.Join(p.run, control.SocketName)
	info, err := os.Stat(socket)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o600 {
		t.Errorf("the control socket has mode %v, want 0600", info.Mode().Perm())
	}
	for _, dir := range []string{p.run, p.state} {
		if info, err := os.Stat(dir); err != nil || info.Mode().Perm()&0o077 != 0 {
			t.Errorf("folder %s: %v, %v; want it private", dir, info.Mode(), err)
		}
	}
}

func hasMetric(metrics, word string) bool {
	for line := range strings.Lines(metrics) {
		if name, _, _ := strings.Cut(line, " "); strings.HasPrefix(name, "unifaas_") && strings.Contains(name, word) {
			return true
		}
	}
	return false
}

func adminGet(t *testing.T, p *platform, path string) string {
	t.Helper()
	a, err := fetch(t.Context(), "GET", "http://"+p.status.Admin+path, nil)
	if err != nil || a.status != 200 {
		t.Fatalf("GET %s of the admin port: %d, %v", path, a.status, err)
	}
	return a.body
}
