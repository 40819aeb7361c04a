package e2e

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/unifaas/unifaas/internal/control"
)

// versioned is a load on /version that fails on an answer of a version that
// is none of the allowed ones, or that lets a version return after its
// successor has been seen.
type versioned struct {
	*load
	seen func() string // the newest
}

// watchVersions sends one request after the other, so that versions can only
// rise.
func watchVersions(p *platform, name string) versioned {
	current := make(chan string, 1)
	current <- ""
	l := startLoad(p.at(name, "/version"), 1, time.Millisecond, func(a answer) error {
		last := <-current
		defer func() { current <- last }()
		switch {
		case a.status != 200:
			return fmt.Errorf("status %d: %s", a.status, a.body)
		case a.body < last:
			return fmt.Errorf("version %q after %q", a.body, last)
		}
		last = a.body
		return nil
	})
	return versioned{l, func() string {
		last := <-current
		current <- last
		return last
	}}
}

func (v versioned) await(t *testing.T, version string) {
	t.Helper()
	eventually(t, "version "+version, func() bool { return v.seen() == version })
}

func env(version string) string {
	return fmt.Sprintf("concurrency = 4\n[env]\nVERSION = %q\n", version)
}

// TestReloadUnderLoad changes a function in the ways in which editors and
// people do; no request is lost, and those under way finish on the revision
// that they started with.
func TestReloadUnderLoad(t *testing.T) {
	p := commonPlatform(t)
	name := p.deploy(t, "edited", env("1"))
	path := filepath.Join(p.functions, name, "function.toml")
	v := watchVersions(p, name)
	defer v.stop()
	v.await(t, "1")
	for _, step := range []struct {
		version, name string
		change        func(text string)
	}{
		{"2", "edited in place", func(text string) { p.edit(t, name, text) }},
		{"3", "renamed over", func(text string) {
			writeFile(t, path+".swp", text)
			if err := os.Rename(path+".swp", path); err != nil {
				t.Fatal(err)
			}
		}},
		{"4", "removed and written again, as some editors do", func(text string) {
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
			writeFile(t, path, text)
		}},
		{"5", "its folder replaced by a link", func(text string) {
			other := t.TempDir()
			writeFile(t, filepath.Join(other, "function.toml"), text)
			old := filepath.Join(t.TempDir(), "old")
			if err := os.Rename(filepath.Dir(path), old); err != nil {
				t.Fatal(err)
			}
			if err := os.Symlink(other, filepath.Dir(path)); err != nil {
				t.Fatal(err)
			}
		}},
		{"6", "edited behind the link", func(text string) { p.edit(t, name, text) }},
	} {
		h := p.hold(t, name)
		step.change(toml(t, env(step.version)))
		v.await(t, step.version)
		lines := h.finish(t)
		if len(lines) != 2 || lines[0] != lines[1] || lines[0] >= step.version {
			t.Errorf("%s: the request under way saw the versions %q", step.name, lines)
		}
	}
	v.wantNoFailure(t, "requests during the changes")
	p.awaitInstances(t, name, 1) // those of old revisions have gone
}

func TestHalfWrittenFileChangesNothing(t *testing.T) {
	p := commonPlatform(t)
	name := p.deploy(t, "half-written", env("1"))
	v := watchVersions(p, name)
	defer v.stop()
	v.await(t, "1")
	whole := toml(t, env("2"))
	p.edit(t, name, whole[:len(whole)-5])
	if message := p.awaitError(t, name); !strings.Contains(message, "function.toml:") {
		t.Errorf("list says %q, want a file and a line", message)
	}
	f := p.list(t)[name]
	if f.Revision == "" {
		t.Errorf("list shows %+v, want the revision that serves", f)
	}
	v.more(t, 10)
	if got := v.seen(); got != "1" {
		t.Errorf("version %q is served, want the last good one", got)
	}
	p.edit(t, name, whole)
	v.await(t, "2")
	p.awaitFunction(t, name, "to be well", func(f control.Function) bool { return f.Error == "" })
	v.wantNoFailure(t, "requests beside a half-written file")
}

// TestBinaryRewrittenInPlace overwrites the program itself, slowly, while it
// runs: a version that is half there must not be started.
func TestBinaryRewrittenInPlace(t *testing.T) {
	p := commonPlatform(t)
	program := filepath.Join(t.TempDir(), "program")
	writeProgram(t, program, "1")
	name := p.deployText(t, "rewritten", fmt.Sprintf("image = %q\nconcurrency = 4\n", "file:"+program))
	v := watchVersions(p, name)
	defer v.stop()
	v.await(t, "1")
	for _, version := range []string{"2", "3"} {
		h := p.hold(t, name)
		writeProgram(t, program, version)
		v.await(t, version)
		if lines := h.finish(t); len(lines) != 2 || lines[0] != lines[1] || lines[0] >= version {
			t.Errorf("the request under way saw the versions %q", lines)
		}
	}
	v.wantNoFailure(t, "requests while the program was rewritten")
}

// writeProgram writes the function under test to path, in place and in parts
// with pauses, as a slow copy does.
func writeProgram(t *testing.T, path, version string) {
	t.Helper()
	from, err := os.Open(binariesOf(t).function)
	if err != nil {
		t.Fatal(err)
	}
	defer from.Close()
	to, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	for {
		n, err := io.CopyN(to, from, 1<<20)
		if err != nil && !errors.Is(err, io.EOF) {
			t.Fatal(err)
		}
		if n == 0 {
			break
		}
		time.Sleep(20 * time.Millisecond) // the slowness
	}
	if _, err := io.WriteString(to, "\nE2E-VERSION="+version); err != nil {
		t.Fatal(err)
	}
	if err := to.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestFunctionsComeAndGo(t *testing.T) {
	p := commonPlatform(t)
	wantProblem(t, p.get(t, "newcomer", "/"), 404, "newcomer")
	name := p.deploy(t, "newcomer", env("1"))
	h := p.hold(t, name)
	p.remove(t, name)
	eventually(t, "the function to be gone", func() bool { return p.get(t, name, "/version").status == 404 })
	if lines := h.finish(t); len(lines) != 2 || lines[0] != "1" || lines[1] != "1" {
		t.Errorf("the request under way saw the versions %q", lines)
	}
	p.awaitInstances(t, name, 0)
	p.write(t, name, toml(t, env("2")))
	t.Cleanup(func() { p.remove(t, name) })
	eventually(t, "the function to be back", func() bool { return p.get(t, name, "/version").body == "2" })
}

// TestThousandFunctionsAtOnce has them arrive, change and go together.
func TestThousandFunctionsAtOnce(t *testing.T) {
	p := newPlatform(t)
	count := setting(t, "UNIFAAS_E2E_COUNT", 1000)
	resident := p.deploy(t, "resident", env("1"))
	p.start(t)
	v := watchVersions(p, resident)
	defer v.stop()
	v.await(t, "1")
	names := make([]string, count)
	for i := range names {
		names[i] = fmt.Sprintf("f%04d", i)
	}
	writeAll := func(version string) {
		for _, name := range names {
			dir := filepath.Join(p.functions, name)
			if err := os.MkdirAll(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			writeFile(t, filepath.Join(dir, "function.toml"), toml(t, env(version)))
		}
	}
	loaded := func() (good int, revisions map[string]bool) {
		revisions = map[string]bool{}
		for name, f := range p.list(t) {
			if name != resident && f.Revision != "" && f.Error == "" {
				good++
				revisions[f.Revision] = true
			}
		}
		return good, revisions
	}
	var first map[string]bool
	writeAll("1")
	eventually(t, fmt.Sprintf("%d functions", count), func() bool {
		var good int
		good, first = loaded()
		return good == count
	})
	for _, name := range []string{names[0], names[count/2], names[count-1]} {
		if got := p.want(t, name, "/version"); got != "1" {
			t.Errorf("%s answers with version %q", name, got)
		}
	}
	writeAll("2")
	eventually(t, fmt.Sprintf("%d new revisions", count), func() bool {
		good, now := loaded()
		for r := range now {
			if first[r] {
				return false
			}
		}
		return good == count
	})
	if got := p.want(t, names[count/2], "/version"); got != "2" {
		t.Errorf("answers with version %q after the edit", got)
	}
	for _, name := range names {
		p.remove(t, name)
	}
	eventually(t, "all to be gone", func() bool { return len(p.list(t)) == 1 })
	v.wantNoFailure(t, "the function that was there before")
	p.stop(t)
}
