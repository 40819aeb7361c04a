package osv

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/unifaas/unifaas/internal/image/closure"
)

// supplied are the libraries that are part of OSv's kernel (OSv, core/elf.cc).
var supplied = []string{
	"ld-linux-x86-64.so.2", "libresolv.so.2", "libc.so.6", "libm.so.6", "libc.musl-x86_64.so.1", "ld-musl-x86_64.so.1",
	"libpthread.so.0", "libdl.so.2", "librt.so.1", "libstdc++.so.6", "libaio.so.1", "libxenstore.so.3.0", "libcrypt.so.1", "libutil.so",
}

// searched are the folders in which OSv looks for others.
var searched = []string{"/", "/usr/lib"}

// checkOwn looks for what a program in the folder dir needs that OSv links
// itself.
func (r root) checkOwn(n closure.Needs, dir string, isGo bool) error {
	if isGo {
		return errors.New("it is a dynamically linked Go program, for which the image has no dynamic linker; build it with CGO_ENABLED=0 and without -buildmode=pie")
	}
	if missing := r.missing(n, dir, searched, supplied); len(missing) > 0 {
		return fmt.Errorf("it needs %s, which OSv looks for in %s and does not find there; put them there by [files] or in the image, or the program's own dynamic linker, or link it statically",
			strings.Join(missing, ", "), strings.Join(searched, " and "))
	}
	return nil
}

// usual are the folders in which a dynamic linker of Linux looks for libraries.
var usual = []string{"/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu", "/lib64", "/usr/lib64", "/lib", "/usr/lib", "/usr/local/lib"}

// configured are files by which a dynamic linker may know others.
var configured = []string{"/etc/ld.so.cache", "/etc/ld-musl-x86_64.path"}

// checkLinux looks for what a program in the folder dir needs that a dynamic
// linker in the image links.
func (r root) checkLinux(n closure.Needs, dir string) error {
	if slices.ContainsFunc(configured, r.Has) {
		return nil // it knows
	}
	folders := append([]string{path.Dir(n.Interpreter)}, usual...)
	if missing := r.missing(n, dir, folders, []string{path.Base(n.Interpreter)}); len(missing) > 0 {
		return fmt.Errorf("it needs %s, which the image does not have; add them by [files] or to the image, or link the program statically (Go: CGO_ENABLED=0)", strings.Join(missing, ", "))
	}
	return nil
}

// missing returns the libraries that a program in the folder dir needs, and
// that those need, which are neither known nor in the folders.
func (r root) missing(n closure.Needs, dir string, folders, known []string) []string {
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
func (r root) library(name string, folders []string) (n closure.Needs, dir string, ok bool) {
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
