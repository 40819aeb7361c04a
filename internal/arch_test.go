// Package internal_test holds the platform to its architecture: imports go
// one way, and only the gVisor driver links gVisor.
package internal_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/unifaas/unifaas/"

// layers lists the way of a request, from below to above. Whoever stands in
// one may import those before it and never one after it.
var layers = []string{
	"internal/faas", "internal/sandbox", "internal/launch", "internal/pool", "internal/gateway", "internal/node", "cmd",
}

// A goPackage is what `go list -json` tells of a package.
type goPackage struct {
	ImportPath string
	Imports    []string
	Deps       []string
}

// listPackages returns the module's packages by their path in it, with the
// imports of what ships: those of tests are not among them.
func listPackages(t *testing.T) map[string]goPackage {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Imports,Deps", module+"...")
	out, err := cmd.Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			t.Fatalf("go list: %v\n%s", err, exit.Stderr)
		}
		t.Fatal(err)
	}
	packages := map[string]goPackage{}
	for decoder := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p goPackage
		if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		packages[strings.TrimPrefix(p.ImportPath, module)] = p
	}
	for _, layer := range []string{"internal/faas", "internal/sandbox"} {
		if _, ok := packages[layer]; !ok {
			t.Fatalf("go list does not tell of %s", layer)
		}
	}
	return packages
}

// ours returns the imports of p that are of this module, relative to it.
func (p goPackage) ours() []string {
	var paths []string
	for _, path := range p.Imports {
		if rel, ok := strings.CutPrefix(path, module); ok {
			paths = append(paths, rel)
		}
	}
	return paths
}

// within reports whether path is tree or below it.
func within(path string, trees ...string) bool {
	return slices.ContainsFunc(trees, func(tree string) bool {
		return path == tree || strings.HasPrefix(path, tree+"/")
	})
}

func layer(path string) int {
	return slices.IndexFunc(layers, func(l string) bool { return within(path, l) })
}

// driver returns the folder of the driver that path belongs to, or "".
func driver(path string) string {
	rest, ok := strings.CutPrefix(path, "internal/sandbox/")
	if !ok || within(rest, "all", "ready", "sandboxtest") {
		return ""
	}
	name, _, _ := strings.Cut(rest, "/")
	return "internal/sandbox/" + name
}

func TestImportsGoOneWay(t *testing.T) {
	for path, p := range listPackages(t) {
		for _, imported := range p.ours() {
			if from, to := layer(path), layer(imported); from >= 0 && to > from {
				t.Errorf("%s imports %s, which stands above it: the order is %s", path, imported, strings.Join(layers, " < "))
			}
		}
	}
}

// A rule is something else that holds for each import.
type rule struct {
	name   string
	breach func(path, imported string) bool
}

var rules = []rule{
	{"drivers do not know each other", func(path, imported string) bool {
		return driver(path) != "" && driver(imported) != "" && driver(path) != driver(imported)
	}},
	{"only all, node and cmd know drivers", func(path, imported string) bool {
		return driver(imported) != "" && driver(path) == "" && !within(path, "internal/sandbox/all", "internal/node", "cmd")
	}},
	{"the contract knows the domain alone", func(path, imported string) bool {
		return path == "internal/sandbox" && imported != "internal/faas"
	}},
	{"monitors and guest systems know neither each other nor drivers", func(path, imported string) bool {
		machines := within(path, "internal/vmm", "internal/guest")
		crossed := within(path, "internal/vmm") && within(imported, "internal/guest")
		return machines && layer(imported) > 0 && !within(path, "internal/guest/linux/kernel/kerneltest") || crossed
	}},
	{"one monitor does not know the other", func(path, imported string) bool {
		fc, qemu := "internal/vmm/firecracker", "internal/vmm/qemu"
		return within(path, fc) && within(imported, qemu) || within(path, qemu) && within(imported, fc)
	}},
	{"what stands beside the layers knows none but the domain and the contract", func(path, imported string) bool {
		beside := within(path, "internal/catalog", "internal/image", "internal/http1", "internal/oci", "internal/host", "internal/erofs", "internal/logs", "internal/deploy", "internal/callback")
		return beside && layer(imported) > 1
	}},
	{"the host's plumbing has no policy", func(path, imported string) bool {
		return within(path, "internal/host") && !within(imported, "internal/host")
	}},
	{"what ships has no use for tests' tools", func(path, imported string) bool {
		tools := within(imported, "internal/sandbox/sandboxtest", "internal/host/leak", "test")
		return tools && !within(path, "internal/sandbox/sandboxtest", "internal/host/leak", "internal/guest/linux/kernel/kerneltest", "test")
	}},
	{"a function does not need the platform", func(path, imported string) bool {
		return within(path, "functions") && !within(imported, "functions")
	}},
	{"the platform does not need its samples", func(path, imported string) bool {
		return within(imported, "functions") && !within(path, "functions")
	}},
}

func TestRules(t *testing.T) {
	for path, p := range listPackages(t) {
		for _, imported := range p.ours() {
			for _, r := range rules {
				if r.breach(path, imported) {
					t.Errorf("%s imports %s: %s", path, imported, r.name)
				}
			}
		}
	}
}

func TestTheDomainAndFunctionsNeedOnlyTheStandardLibrary(t *testing.T) {
	for path, p := range listPackages(t) {
		if !within(path, "internal/faas", "functions") {
			continue
		}
		for _, imported := range p.Imports {
			if first, _, _ := strings.Cut(imported, "/"); strings.Contains(first, ".") && !strings.HasPrefix(imported, module+"functions/") {
				t.Errorf("%s imports %s", path, imported)
			}
		}
	}
}

func TestOnlyItsDriverLinksGVisor(t *testing.T) {
	allowed := []string{"internal/sandbox/gvisor", "internal/sandbox/all", "internal/node", "cmd", "test/bench"}
	linked := 0
	for path, p := range listPackages(t) {
		if !slices.ContainsFunc(p.Deps, func(d string) bool { return strings.HasPrefix(d, "gvisor.dev/") }) {
			continue
		}
		linked++
		if !within(path, allowed...) {
			t.Errorf("%s links gVisor, by one of %v", path, p.ours())
		}
	}
	if linked == 0 {
		t.Error("nothing links gVisor; is this test still looking at the right thing?")
	}
}

// TestRulesCanBreak keeps the rules from becoming true of everything.
func TestRulesCanBreak(t *testing.T) {
	for _, edge := range []struct{ path, imported string }{
		{"internal/sandbox/one", "internal/sandbox/two"},
		{"internal/pool", "internal/sandbox/one/part"},
		{"internal/sandbox", "internal/host/cgroup"},
		{"internal/image/cas", "internal/pool"},
		{"internal/host/cgroup", "internal/faas"},
		{"internal/node", "internal/sandbox/sandboxtest"},
		{"functions/hello-go", "internal/faas"},
		{"internal/vmm/qemu", "internal/guest/linux"},
		{"internal/guest/raw", "internal/sandbox/vm"},
		{"internal/vmm/firecracker", "internal/vmm/qemu/qmp"},
		{"internal/node", "functions/benchmark/workload"},
	} {
		if !slices.ContainsFunc(rules, func(r rule) bool { return r.breach(edge.path, edge.imported) }) {
			t.Errorf("no rule forbids that %s imports %s", edge.path, edge.imported)
		}
	}
	if got := fmt.Sprint(layer("internal/sandbox/gvisor"), layer("internal/image"), layer("cmd/unifaas")); got != "1 -1 6" {
		t.Errorf("layers: got %s", got)
	}
}
