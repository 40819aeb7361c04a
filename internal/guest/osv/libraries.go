package osv

import (
	"debug/elf"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
)

// supplied are the libraries that are part of OSv's kernel (OSv, core/elf.cc).
var supplied = []string{
	"ld-linux-x86-64.so.2", "libresolv.so.2", "libc.so.6", "libm.so.6", "libc.musl-x86_64.so.1", "ld-musl-x86_64.so.1",
	"libpthread.so.0", "libdl.so.2", "librt.so.1", "libstdc++.so.6", "libaio.so.1", "libxenstore.so.3.0", "libcrypt.so.1", "libutil.so",
}

// searched are the folders in which OSv looks for others.
var searched = []string{"/", "/usr/lib"}

// needs are the libraries that an ELF file needs, and where it says that they
// are.
type needs struct{ names, folders []string }

func needsOf(file *elf.File, dir string) (n needs, err error) {
	if n.names, err = file.ImportedLibraries(); err != nil {
		return n, fmt.Errorf("read its dynamic section: %w", err)
	}
	for _, tag := range []elf.DynTag{elf.DT_RUNPATH, elf.DT_RPATH} {
		if values, err := file.DynString(tag); err == nil && len(values) > 0 {
			all := strings.ReplaceAll(strings.Join(values, ":"), "$ORIGIN", dir)
			n.folders = strings.Split(all, ":")
			break
		}
	}
	return n, nil
}

// checkOwn looks for what a program in the folder dir needs that OSv links
// itself.
func (r *root) checkOwn(file *elf.File, dir string) error {
	if linked, err := linkedByGo(file); err != nil || linked {
		return errors.Join(err, errors.New("it is a dynamically linked Go program, for which the image has no dynamic linker; build it with CGO_ENABLED=0 and without -buildmode=pie"))
	}
	missing, err := r.missing(file, dir, searched, supplied)
	if err == nil && len(missing) > 0 {
		err = fmt.Errorf("it needs %s, which OSv looks for in %s and does not find there; put them there by [files] or in the image, or the program's own dynamic linker, or link it statically",
			strings.Join(missing, ", "), strings.Join(searched, " and "))
	}
	return err
}

// usual are the folders in which a dynamic linker of Linux looks for libraries.
var usual = []string{"/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu", "/lib64", "/usr/lib64", "/lib", "/usr/lib", "/usr/local/lib"}

// configured are files by which a dynamic linker may know others.
var configured = []string{"/etc/ld.so.cache", "/etc/ld-musl-x86_64.path"}

// checkLinux looks for what a program in the folder dir needs that a dynamic
// linker in the image links.
func (r *root) checkLinux(file *elf.File, dir, interpreter string) error {
	if slices.ContainsFunc(configured, r.has) {
		return nil // it knows
	}
	missing, err := r.missing(file, dir, append([]string{path.Dir(interpreter)}, usual...), []string{path.Base(interpreter)})
	if err == nil && len(missing) > 0 {
		err = fmt.Errorf("it needs %s, which the image does not have; add them by [files] or to the image, or link the program statically (Go: CGO_ENABLED=0)", strings.Join(missing, ", "))
	}
	return err
}

// missing returns the libraries that a program in the folder dir needs, and
// that those need, which are neither known nor in the folders.
func (r *root) missing(file *elf.File, dir string, folders, known []string) ([]string, error) {
	first, err := needsOf(file, dir)
	if err != nil {
		return nil, err
	}
	var missing []string
	seen := map[string]bool{}
	for queue := []needs{first}; len(queue) > 0; queue = queue[1:] {
		for _, name := range queue[0].names {
			if seen[name] || slices.Contains(known, name) {
				continue
			}
			seen[name] = true
			next, err := r.library(name, slices.Concat(queue[0].folders, folders))
			if err != nil {
				missing = append(missing, name)
				continue
			}
			queue = append(queue, next)
		}
	}
	return missing, nil
}

// library finds a library and returns what it needs in turn.
func (r *root) library(name string, folders []string) (needs, error) {
	var last error
	for _, dir := range folders {
		p := path.Join("/", dir, name)
		f, err := r.open(p)
		if err != nil {
			last = err
			continue
		}
		defer f.Close()
		file, err := elf.NewFile(f)
		if err != nil {
			return needs{}, fmt.Errorf("library %q: %w", p, err)
		}
		return needsOf(file, path.Dir(p))
	}
	return needs{}, last
}
