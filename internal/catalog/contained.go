package catalog

import (
	"path/filepath"
	"sort"
	"strings"
)

// refuseOutside notes every path of the file that leads out of the function's
// folder. A program's bare name stays allowed: what is in the platform's PATH
// is there for every function.
func refuseOutside(t *table) {
	if image, ok := t.values["image"].(string); ok {
		if scheme, path, found := strings.Cut(image, ":"); found && contains(imageSchemes, scheme) {
			refusePath(t, "image", path)
		}
	}
	// A runtime is executed by the platform itself, as its user.
	if runtime, ok := t.values["runtime"].(string); ok && isPath(runtime) {
		t.problem("runtime", "runtime = %q is a path, which a deploy can't name; name a runtime that is installed", runtime)
	}
	refuseOutsideIn(t, "files", nil)
	if vm := refuseOutsideIn(t, "vm", []string{"kernel", "image", "cpu-config"}); vm != nil {
		refuseOutsideIn(vm, "hypervisor", []string{"cpu-config"})
	}
}

// refuseOutsideIn checks the values of a sub-table, those of keys, or all, and
// returns it; nil when there is none.
func refuseOutsideIn(t *table, name string, keys []string) *table {
	values, ok := t.values[name].(map[string]any)
	if !ok {
		return nil
	}
	sub := &table{doc: t.doc, path: join(t.path, name), prefix: t.prefix + name + ".", values: values}
	if keys == nil {
		keys = sub.names()
	}
	sort.Strings(keys)
	for _, key := range keys {
		if path, ok := values[key].(string); ok && path != "" {
			refusePath(sub, key, path)
		}
	}
	return sub
}

func refusePath(t *table, key, path string) {
	if !filepath.IsLocal(path) {
		t.problem(key, "%s: %q leads out of the function's folder, which a deploy can't; put what it names into the folder", t.prefix+key, path)
	}
}
