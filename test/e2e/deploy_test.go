package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/unifaas/unifaas/internal/control"
)

// toml returns a function.toml of the function under test.
func toml(t testing.TB, lines string) string {
	t.Helper()
	return fmt.Sprintf("image = %q\n%s", "file:"+binariesOf(t).function, lines)
}

// write puts a function's folder in place at once.
func (p *platform) write(t testing.TB, name, text string) {
	t.Helper()
	dir := filepath.Join(p.base, "new-"+name)
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(dir, "function.toml"), text)
	if err := os.Rename(dir, filepath.Join(p.functions, name)); err != nil {
		t.Fatal(err)
	}
}

func writeFile(t testing.TB, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// edit rewrites a function.toml in place, as `echo >` does.
func (p *platform) edit(t testing.TB, name, text string) {
	t.Helper()
	writeFile(t, filepath.Join(p.functions, name, "function.toml"), text)
}

// remove takes a function away.
func (p *platform) remove(t testing.TB, name string) {
	t.Helper()
	if err := os.RemoveAll(filepath.Join(p.functions, name)); err != nil {
		t.Fatal(err)
	}
}

// deploy writes a function of the function under test, waits until it is
// served, and takes it away after the test.
func (p *platform) deploy(t testing.TB, name, lines string) string {
	t.Helper()
	return p.deployText(t, name, toml(t, lines))
}

// deployText is deploy for a whole function.toml.
func (p *platform) deployText(t testing.TB, name, text string) string {
	t.Helper()
	p.write(t, name, text)
	t.Cleanup(func() { _ = os.RemoveAll(filepath.Join(p.functions, name)) })
	if p.running() {
		f := p.awaitFunction(t, name, "to be known", func(f control.Function) bool { return f.Revision != "" || f.Error != "" })
		if f.Error != "" {
			t.Fatalf("deploy %s: %s", name, f.Error)
		}
	}
	return name
}

// list asks for all functions by name.
func (p *platform) list(t testing.TB) map[string]control.Function {
	t.Helper()
	all, err := p.client.Functions(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	byName := make(map[string]control.Function, len(all))
	for _, f := range all {
		byName[f.Name] = f
	}
	return byName
}

// awaitFunction waits until what is known of a function satisfies done.
func (p *platform) awaitFunction(t testing.TB, name, what string, done func(control.Function) bool) control.Function {
	t.Helper()
	var f control.Function
	eventually(t, fmt.Sprintf("function %s %s", name, what), func() bool {
		f = p.list(t)[name]
		return f.Name != "" && done(f)
	})
	return f
}

// awaitError waits until the newest version of a function is refused, and
// returns why.
func (p *platform) awaitError(t testing.TB, name string) string {
	t.Helper()
	return p.awaitFunction(t, name, "to have an error", func(f control.Function) bool { return f.Error != "" }).Error
}

func (p *platform) describe(t testing.TB, name string) *control.Detail {
	t.Helper()
	d, err := p.client.Describe(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// instances lists a function's instances, of all functions if name is "".
func (p *platform) instances(t testing.TB, name string) []control.Instance {
	t.Helper()
	all, err := p.client.Instances(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	var own []control.Instance
	for _, i := range all {
		if name == "" || i.Function == name {
			own = append(own, i)
		}
	}
	return own
}

func (p *platform) awaitInstances(t testing.TB, name string, n int) {
	t.Helper()
	eventually(t, fmt.Sprintf("%d instances of %q", n, name), func() bool { return len(p.instances(t, name)) == n })
}
