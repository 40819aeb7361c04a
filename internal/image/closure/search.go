package closure

import (
	"debug/elf"
	"os"
	"path/filepath"
	"strings"
)

// loaded is an object in the order in which ld.so would load it.
type loaded struct {
	path   string
	object *object
	loader *loaded // whose DT_NEEDED brought it, nil for the program
}

// search finds libraries for one program as its dynamic linker would.
type search struct {
	finder  *Finder
	machine elf.Machine
	class   elf.Class
	musl    bool
	dirs    []string // default folders
}

// find returns the library called name that from needs, or nil.
//
// The order is that of ld.so(8): DT_RPATH of the loaders, DT_RUNPATH, cache,
// default folders. LD_LIBRARY_PATH is the function's business.
func (s *search) find(name string, from *loaded) *loaded {
	if strings.Contains(name, "/") {
		return s.try(expand(name, from.path, s.machine), from)
	}
	for _, dir := range s.rpath(from) {
		if l := s.try([]string{filepath.Join(dir, name)}, from); l != nil {
			return l
		}
	}
	if !s.musl {
		if l := s.try(s.finder.cached(name), from); l != nil {
			return l
		}
	}
	for _, dir := range s.dirs {
		if l := s.try([]string{filepath.Join(dir, name)}, from); l != nil {
			return l
		}
	}
	return nil
}

func (s *search) rpath(from *loaded) []string {
	var dirs []string
	if from.object.runpath == nil || s.musl {
		for l := from; l != nil; l = l.loader {
			dirs = append(dirs, expandAll(l.object.rpath, l.path, s.machine)...)
		}
	}
	return append(dirs, expandAll(from.object.runpath, from.path, s.machine)...)
}

// try returns the first of paths that is a library for our machine; others
// are passed over, as ld.so does.
func (s *search) try(paths []string, from *loaded) *loaded {
	for _, path := range paths {
		if !filepath.IsAbs(path) {
			continue
		}
		o, err := openObject(path)
		if err == nil && o.machine == s.machine && o.class == s.class && o.kind == elf.ET_DYN {
			return &loaded{path: filepath.Clean(path), object: o, loader: from}
		}
	}
	return nil
}

func openObject(path string) (*object, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readObject(f)
}

func expandAll(dirs []string, origin string, machine elf.Machine) []string {
	var out []string
	for _, dir := range dirs {
		if dir != "" { // ld.so takes it for the working folder; we have none
			out = append(out, expand(dir, origin, machine)...)
		}
	}
	return out
}

// expand replaces the tokens of ld.so(8). What $LIB stands for was fixed when
// the linker was built, so all usual values are tried.
func expand(s, origin string, machine elf.Machine) []string {
	if !strings.Contains(s, "$") {
		return []string{s}
	}
	s = replaceToken(s, "ORIGIN", filepath.Dir(origin))
	s = replaceToken(s, "PLATFORM", platform(machine))
	withLib := replaceToken(s, "LIB", "")
	if withLib == s {
		return []string{s}
	}
	var out []string
	for _, lib := range []string{"lib/" + multiarch(machine), "lib64", "lib"} {
		out = append(out, replaceToken(s, "LIB", lib))
	}
	return out
}

func replaceToken(s, token, value string) string {
	return strings.NewReplacer("${"+token+"}", value, "$"+token, value).Replace(s)
}

func platform(m elf.Machine) string {
	switch m {
	case elf.EM_X86_64:
		return "x86_64"
	case elf.EM_AARCH64:
		return "aarch64"
	case elf.EM_RISCV:
		return "riscv64"
	default:
		return strings.ToLower(strings.TrimPrefix(m.String(), "EM_"))
	}
}

func multiarch(m elf.Machine) string { return platform(m) + "-linux-gnu" }

// glibcDirs are the default folders of glibc's linker as Debian (first) and
// others build it.
func glibcDirs(m elf.Machine) []string {
	return []string{
		"/lib/" + multiarch(m), "/usr/lib/" + multiarch(m),
		"/lib64", "/usr/lib64", "/lib", "/usr/lib",
	}
}

// muslDirs are those of musl's, ldso/dynlink.c.
func muslDirs(m elf.Machine) []string {
	b, err := os.ReadFile("/etc/ld-musl-" + platform(m) + ".path")
	if err != nil {
		return []string{"/lib", "/usr/local/lib", "/usr/lib"}
	}
	return strings.FieldsFunc(string(b), func(r rune) bool { return r == ':' || r == '\n' })
}
