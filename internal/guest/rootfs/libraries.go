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

// elsewhere are variables by which an environment tells a dynamic linker where else to
// look.
var elsewhere = []string{"LD_LIBRARY_PATH=", "LD_PRELOAD="}

// CheckLinked looks for what the program at an absolute path needs that the dynamic
// linker in the image, which it names, links. Where that may know more than is known
// here there is no error.
func (r *Root) CheckLinked(n closure.Needs, program string, environ []string) error {
	told := slices.ContainsFunc(environ, func(e string) bool {
		return slices.ContainsFunc(elsewhere, func(name string) bool { return strings.HasPrefix(e, name) })
	})
	if told || slices.ContainsFunc(configured, r.Has) {
		return nil
	}
	folders := append([]string{path.Dir(n.Interpreter)}, usual...)
	if missing := r.Missing(n, program, folders, []string{path.Base(n.Interpreter)}); len(missing) > 0 {
		return fmt.Errorf("it needs %s, which the image does not have; add them by [files] or to the image, or link the program statically (Go: CGO_ENABLED=0)", strings.Join(missing, ", "))
	}
	return nil
}

// Missing returns the libraries that the program at an absolute path needs, and
// that those need, which are neither known nor in the folders.
func (r *Root) Missing(n closure.Needs, program string, folders, known []string) []string {
	type user struct {
		closure.Needs
		file  string
		above []string // folders of those that need it, of which a DT_RPATH counts
	}
	var missing []string
	seen := map[string]bool{}
	for queue := []user{{n, program, nil}}; len(queue) > 0; queue = queue[1:] {
		u := queue[0]
		own := append(u.Search(u.file), u.above...)
		for _, name := range u.Libraries {
			if seen[name] || slices.Contains(known, name) {
				continue
			}
			seen[name] = true
			next, file, ok := r.library(name, slices.Concat(own, folders))
			if !ok {
				missing = append(missing, name)
				continue
			}
			queue = append(queue, user{next, file, own})
		}
	}
	return missing
}

// library finds a library and returns what it needs in turn, and its path.
func (r *Root) library(name string, folders []string) (n closure.Needs, file string, ok bool) {
	for _, dir := range folders {
		p := path.Join("/", dir, name)
		f, err := r.File(p)
		if err != nil {
			continue
		}
		n, err := closure.ReadNeeds(f)
		_ = f.Close()
		if err == nil {
			return n, p, true
		}
	}
	return n, "", false
}
