package e2e

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/unifaas/unifaas/internal/deploy"
	"github.com/unifaas/unifaas/internal/sandbox/sandboxtest/guest"
)

// bundle makes a folder to deploy: the function under test, and lines of a
// function.toml.
func bundle(t *testing.T, lines string) string {
	t.Helper()
	dir := t.TempDir()
	if err := copyFile(filepath.Join(dir, "program"), binariesOf(t).function); err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(dir, "function.toml"), "image = \"file:./program\"\n"+lines)
	return dir
}

// send runs `unifaas deploy`, which must succeed.
func (p *platform) send(t *testing.T, args ...string) deploy.Outcome {
	t.Helper()
	return cliJSON[deploy.Outcome](t, p, append([]string{"deploy"}, args...)...)
}

// undeploy deletes a function after the test.
func (p *platform) undeploy(t *testing.T, name string) {
	t.Cleanup(func() {
		if out, errs, code := p.cli(t, "delete", name); code != 0 && code != 3 {
			t.Errorf("delete %s ended with %d: %s%s", name, code, out, errs)
		}
	})
}

// TestDeploysUnderLoad is the promise: no request is lost by five deploys and
// a rollback, and those under way finish on what they began with.
func TestDeploysUnderLoad(t *testing.T) {
	inSandboxes(t, deploysUnderLoad, "gvisor", "container", "runc", "docker")
}

func deploysUnderLoad(t *testing.T, p *platform, v variant) {
	p.start(t)
	const name = "sent"
	dir := bundle(t, v.lines+"concurrency = 4\n")
	p.send(t, dir, "--name", name, "--env", "VERSION=1")
	p.undeploy(t, name)
	l := startLoad(p.at(name, "/version"), 3, time.Millisecond, nil)
	defer l.stop()
	for version := 2; version <= 6; version++ {
		h := p.hold(t, name)
		out := p.send(t, dir, "--name", name, "--env", "VERSION="+strconv.Itoa(version))
		if out.Current.Number != version || out.Unchanged || out.Previous == nil || out.Previous.Number != version-1 {
			t.Errorf("deployed %+v", out)
		}
		// The answer says that it is served: from now on, to everybody.
		if got := p.want(t, name, "/version"); got != strconv.Itoa(version) {
			t.Errorf("after the deploy of %d, version %s answers", version, got)
		}
		if lines := h.finish(t); len(lines) != 2 || lines[0] != strconv.Itoa(version-1) || lines[1] != lines[0] {
			t.Errorf("the request under way saw the versions %q, want %d", lines, version-1)
		}
	}
	out := cliJSON[deploy.Outcome](t, p, "rollback", name)
	if got := p.want(t, name, "/version"); got != "5" || out.Current.Number != 5 {
		t.Errorf("after the rollback version %s answers, %+v", got, out)
	}
	l.wantNoFailure(t, "requests during five deploys and a rollback")
	if d := p.describe(t, name); d.Origin != "deployed" || d.Deployed.Number != 5 || d.Previous.Number != 6 {
		t.Errorf("describe shows %+v", d)
	}
	folders, err := filepath.Glob(filepath.Join(p.state, "functions", name, "*", "bundle"))
	if err != nil || len(folders) != 2 {
		t.Errorf("on disk are %q, %v; want the current and the previous deployment", folders, err)
	}
	for _, command := range [][]string{{"list"}, {"describe", name}} {
		if out, _, _ := p.cli(t, command...); !strings.Contains(out, "deployed") {
			t.Errorf("%v prints %q", command, out)
		}
	}
}

func TestDeleteUnderLoad(t *testing.T) {
	inSandboxes(t, deleteUnderLoad, "gvisor", "container", "runc", "docker")
}

func deleteUnderLoad(t *testing.T, p *platform, v variant) {
	p.start(t)
	const name = "short-lived"
	dir := bundle(t, v.lines+"concurrency = 4\n[env]\nVERSION = \"1\"\n")
	p.send(t, dir, "--name", name)
	p.undeploy(t, name)
	l := startLoad(p.at(name, "/version"), 3, time.Millisecond, func(a answer) error {
		if a.status != 200 && a.status != 404 {
			return fmt.Errorf("status %d: %s", a.status, a.body)
		}
		return nil
	})
	defer l.stop()
	h := p.hold(t, name)
	deleted := make(chan int, 1)
	go func() {
		_, _, code := p.cli(t, "delete", name)
		deleted <- code
	}()
	eventually(t, "the function to be gone", func() bool { return p.get(t, name, "/version").status == 404 })
	select {
	case code := <-deleted:
		t.Errorf("delete ended with %d while a request was under way", code)
	case <-time.After(200 * time.Millisecond): // long enough to show a delete that does not wait
	}
	if lines := h.finish(t); len(lines) != 2 || lines[1] != "1" {
		t.Errorf("the request under way saw %q", lines)
	}
	if code := <-deleted; code != 0 {
		t.Errorf("delete ended with %d", code)
	}
	if left := p.instances(t, name); len(left) > 0 {
		t.Errorf("instances are left: %+v", left)
	}
	if _, err := os.Stat(filepath.Join(p.state, "functions", name)); !os.IsNotExist(err) {
		t.Errorf("its folder is left: %v", err)
	}
	p.send(t, dir, "--name", name)
	eventually(t, "the function to be back", func() bool { return p.get(t, name, "/version").status == 200 })
	l.wantNoFailure(t, "requests during a delete")
}

// TestAProgramIsDeployed needs no function.toml.
func TestAProgramIsDeployed(t *testing.T) {
	p := commonPlatform(t)
	out := p.send(t, binariesOf(t).function, "--name", "bare", "--memory", "66", "--env", "A=1", "--env", "VERSION=a=b,c", "--concurrency", "2")
	p.undeploy(t, "bare")
	if got := p.want(t, "bare", "/version"); got != "a=b,c" {
		t.Errorf("version %q", got)
	}
	d := p.describe(t, "bare")
	if d.Config.Limits.Memory != 66<<20 || d.Config.Concurrency != 2 || d.Config.Env["A"] != "1" || d.Revision != out.Current.Revision {
		t.Errorf("describe shows %+v", d.Config)
	}
}

func TestDeploysThatFail(t *testing.T) {
	p := commonPlatform(t)
	good := bundle(t, "[env]\nVERSION = \"1\"\n")
	p.send(t, good, "--name", "stays")
	p.undeploy(t, "stays")
	theirs := p.deploy(t, "of-the-folder", "")
	broken := t.TempDir()
	writeFile(t, filepath.Join(broken, "function.toml"), "image = \"file:./program\"\nmemry = 1\n")
	writeFile(t, filepath.Join(broken, "program"), "")
	above := t.TempDir()
	writeFile(t, filepath.Join(above, "function.toml"), "\nimage = \"file:../program\"\n")
	foreign := foreignProgram(t)
	for _, c := range []struct {
		name string
		args []string
		code int
		want []string
	}{
		{"a key that does not exist", []string{broken}, 2, []string{filepath.Join(broken, "function.toml") + ":2:1:", "memory"}},
		{"a program outside", []string{above}, 2, []string{filepath.Join(above, "function.toml") + ":2:", "leads out"}},
		{"another machine's program", []string{foreign}, 2, []string{"foreign"}},
		{"a flag out of range", []string{good, "--port", "70000"}, 2, []string{"port = 70000"}},
		{"an unknown sandbox", []string{good, "--sandbox", "gviser"}, 2, []string{"gvisor"}},
		{"a function that ends", []string{good, "--env", guest.ModeEnv + "=exit"}, 6, []string{"ended before it served", "the function's last output:\n  | "}},
		{"a program that is not there", []string{good, "--command", "/nothing"}, 6, []string{"stays"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, errs, code := p.cli(t, append([]string{"deploy", "--name", "stays"}, c.args...)...)
			if code != c.code {
				t.Errorf("ended with %d, want %d: %s", code, c.code, errs)
			}
			for _, want := range c.want {
				if !strings.Contains(errs, want) {
					t.Errorf("said %q, want %q in it", errs, want)
				}
			}
			if got := p.want(t, "stays", "/version"); got != "1" {
				t.Errorf("version %s answers", got)
			}
		})
	}
	for _, args := range [][]string{{"deploy", good, "--name", theirs}, {"delete", theirs}, {"rollback", theirs}} {
		_, errs, code := p.cli(t, args...)
		if code != 2 || !strings.Contains(errs, filepath.Join(p.functions, theirs, "function.toml")) {
			t.Errorf("%q ended with %d: %s", args, code, errs)
		}
	}
	if _, errs, code := p.cli(t, "rollback", "stays"); code != 3 || !strings.Contains(errs, "nothing to go back to") {
		t.Errorf("a rollback of the first deployment ended with %d: %s", code, errs)
	}
}

// foreignProgram writes the head of a program for a processor that this is
// not, under the name foreign.
func foreignProgram(t *testing.T) string {
	t.Helper()
	raw, err := os.ReadFile(binariesOf(t).function)
	if err != nil {
		t.Fatal(err)
	}
	raw[18], raw[19] = 0xf3, 0 // e_machine of the ELF header: EM_RISCV
	path := filepath.Join(t.TempDir(), "foreign")
	if err := os.WriteFile(path, raw, 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestPlatformIsKilledDuringDeploys kills it at random moments: afterwards the
// old version is served or the new one, and the new one if a deploy said so.
func TestPlatformIsKilledDuringDeploys(t *testing.T) {
	p := newPlatform(t, "--listen", freeAddress(t))
	p.start(t)
	const name = "robust"
	dir := bundle(t, "")
	p.send(t, dir, "--name", name, "--env", "VERSION=0")
	rng := rand.New(rand.NewPCG(uint64(setting(t, "UNIFAAS_E2E_SEED", 1)), 0))
	served, switched := 0, 0
	const kills = 15
	for i := 1; i <= kills; i++ {
		type result struct {
			out  string
			code int
		}
		done := make(chan result, 1)
		go func() {
			out, _, code := p.cli(t, "deploy", dir, "--name", name, "--env", "VERSION="+strconv.Itoa(i), "--json")
			done <- result{out, code}
		}()
		time.Sleep(time.Duration(rng.IntN(900)) * time.Millisecond) // the moment
		p.kill(t)
		r := <-done
		p.start(t)
		got, err := strconv.Atoi(p.want(t, name, "/version"))
		if err != nil || got != served && got != i || r.code == 0 && got != i {
			t.Fatalf("kill %d: version %d answers (%v), the one before was %d and the deploy ended with %d: %s", i, got, err, served, r.code, r.out)
		}
		if got == i {
			switched++
		}
		served = got
		p.wantTidy(t, name)
	}
	t.Logf("%d of %d deploys had switched", switched, kills)
	if switched == 0 || switched == kills {
		t.Errorf("%d of %d deploys had switched: the moments are not where they should be", switched, kills)
	}
	out := p.send(t, dir, "--name", name, "--env", "VERSION=last")
	if got := p.want(t, name, "/version"); got != "last" || out.Previous == nil {
		t.Errorf("version %s answers, %+v", got, out)
	}
	p.stop(t)
}

// wantTidy checks that nothing is left of a deploy that was cut short.
func (p *platform) wantTidy(t *testing.T, name string) {
	t.Helper()
	d := p.describe(t, name)
	if d.Error != "" || d.Deployed == nil {
		t.Errorf("describe shows %+v", d)
		return
	}
	want := map[string]bool{strconv.Itoa(d.Deployed.Number): true, "record.json": true}
	if d.Previous != nil {
		want[strconv.Itoa(d.Previous.Number)] = true
	}
	entries, err := os.ReadDir(filepath.Join(p.state, "functions", name))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if !want[e.Name()] && e.Name() != "record.json.new" {
			t.Errorf("%s is left", e.Name())
		}
	}
	if left, _ := filepath.Glob(filepath.Join(p.state, "functions", ".incoming", "*")); len(left) > 0 {
		t.Errorf("%q are left", left)
	}
}

// TestDeploymentsOutliveTheirPlatform: and what is deployed does not need what
// it was deployed from.
func TestDeploymentsOutliveTheirPlatform(t *testing.T) {
	p := newPlatform(t)
	p.start(t)
	dir := bundle(t, "")
	p.send(t, dir, "--name", "kept", "--env", "VERSION=1")
	p.send(t, dir, "--name", "kept", "--env", "VERSION=2")
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	before := p.describe(t, "kept")
	p.stop(t)
	p.start(t)
	if got := p.want(t, "kept", "/version"); got != "2" {
		t.Errorf("version %s answers", got)
	}
	after := p.describe(t, "kept")
	if after.Digest != before.Digest || after.Deployed == nil || !after.Deployed.Deployed.Equal(before.Deployed.Deployed) {
		t.Errorf("described as %+v, was %+v", after, before)
	}
	out, _, code := p.cli(t, "rollback", "kept", "--json")
	var back deploy.Outcome
	if err := json.Unmarshal([]byte(out), &back); err != nil || code != 0 || p.want(t, "kept", "/version") != "1" {
		t.Errorf("rolled back to %+v with %d, %v", back, code, err)
	}
	p.stop(t)
}
