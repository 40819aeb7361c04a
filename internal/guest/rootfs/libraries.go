package rootfs

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/unifaas/unifaas/internal/image/closure"
)

// usual are the folders in which a dynamic linker of Linux looks for libraries.
var usual = []string{"/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu", "/lib64", "/usr/lib64", "/lib", "/usr/lib", "/usr/local/lib"}

// configured are files by which a dynamic linker may know others.
var configured = []string{"/etc/ld.so.cache", "/etc/ld-musl-x86_64.path"}

// CheckLinked looks for what a program in the folder dir needs that the dynamic
// linker in the image, which it names, links.
func (r *Root) CheckLinked(n closure.Needs, dir string) error {
	if slices.ContainsFunc(configured, r.Has) {
		return nil // it knows
	}
	folders := append([]string{path.Dir(n.Interpreter)}, usual...)
	if missing := r.Missing(n, dir, folders, []string{path.Base(n.Interpreter)}); len(missing) > 0 {
		return fmt.Errorf("it needs %s, which the image does not have; add them by [files] or to the image, or link the program statically (Go: CGO_ENABLED=0)", strings.Join(missing, ", "))
	}
	return nil
}

// Missing returns the libraries that a program in the folder dir needs, and
// that those need, which are neither known nor in the folders.
func (r *Root) Missing(n closure.Needs, dir string, folders, known []string) []string {
	type user struct {
		closure.Needs
		dir string
	}
	var missing []string
	seen := map[string]bool{}
	for queue := []user{{n, dir}}; len(queue) > 0; queue = queue[1:] {
		var own []string
		for _, folder := range queue[0].Folders {
			own = append(own, strings.ReplaceAll(folder, "$ORIGIN", queue[0].dir))
		}
		for _, name := range queue[0].Libraries {
			if seen[name] || slices.Contains(known, name) {
				continue
			}
			seen[name] = true
			next, in, ok := r.library(name, slices.Concat(own, folders))
			if !ok {
				missing = append(missing, name)
				continue
			}
			queue = append(queue, user{next, in})
		}
	}
	return missing
}

// library finds a library and returns what it needs in turn, and its folder.
func (r *Root) library(name string, folders []string) (n closure.Needs, dir string, ok bool) {
	for _, dir := range folders {
		f, err := r.File(path.Join("/", dir, name))
		if err != nil {
			continue
		}
		n, err := closure.ReadNeeds(f)
		_ = f.Close()
		if err == nil {
			return n, path.Join("/", dir), true
		}
	}
	return n, "", false
}
