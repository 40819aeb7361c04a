package closure

import (
	"debug/elf"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/unifaas/unifaas/internal/faas"
)

// A Finder finds closures. It may be used concurrently.
type Finder struct {
	cachePath string
	path      []string // folders in which programs are looked up
	external  string   // where Debian's Node has its modules

	mu      sync.Mutex
	cache   map[string][]string
	cacheAt time.Time // modification time of what is in cache
}

// NewFinder returns a finder that uses the ld.so.cache at cachePath, which
// need not exist, and looks programs up in the folders of path.
func NewFinder(cachePath string, path []string) *Finder {
	return &Finder{cachePath: cachePath, path: path, external: externalRoot}
}

// A Closure is what a program needs besides itself.
type Closure struct {
	// Files are the absolute paths of files that must be where they are here,
	// with the symbolic links that lead to them.
	Files []string
	// Links are symbolic links to add, by path: they stand in for this
	// machine's ld.so.cache and PATH.
	Links map[string]string
	// Script is the interpreter's path when the program is a script.
	Script string
}

// Find returns the closure of the program at path. Its errors are of kind
// invalid, name the file and say what would be right.
func (f *Finder) Find(path string) (*Closure, error) {
	c := &Closure{Links: map[string]string{}}
	if err := f.add(c, path, 0); err != nil {
		return nil, err
	}
	return c, nil
}

// maxInterpreters is how many scripts the kernel lets interpret each other.
const maxInterpreters = 4

func (f *Finder) add(c *Closure, path string, depth int) error {
	file, err := os.Open(path)
	if err != nil {
		return faas.Errorf(faas.KindInvalid, "open program: %w", err)
	}
	defer file.Close()
	head := make([]byte, 256)
	n, err := file.ReadAt(head, 0)
	if n == 0 {
		return faas.Errorf(faas.KindInvalid, "program %q can't be read or is empty: %w", path, err)
	}
	head = head[:n]
	if strings.HasPrefix(string(head), "#!") {
		if depth >= maxInterpreters {
			return faas.Errorf(faas.KindInvalid, "program %q: too many interpreters of scripts", path)
		}
		return f.addScript(c, path, string(head), depth)
	}
	if !strings.HasPrefix(string(head), elf.ELFMAG) {
		return faas.Errorf(faas.KindInvalid, "program %q is %s; what is needed is an ELF binary for %s, or a script that begins with #!",
			path, describe(head), runtime.GOARCH)
	}
	o, err := readObject(file)
	if err != nil {
		return faas.Errorf(faas.KindInvalid, "program %q is a damaged ELF file: %w", path, err)
	}
	if err := checkProgram(path, o); err != nil {
		return err
	}
	return f.addLibraries(c, path, o)
}

// checkProgram makes sure that this machine can run it.
func checkProgram(path string, o *object) error {
	want := machineOf(runtime.GOARCH)
	switch {
	case want != elf.EM_NONE && (o.machine != want || o.class != elf.ELFCLASS64):
		return faas.Errorf(faas.KindInvalid, "program %q is an ELF binary for %s (%s); what is needed is one for %s: build it with GOARCH=%s or its like",
			path, architecture(o.machine), bits(o.class), runtime.GOARCH, runtime.GOARCH)
	case o.kind == elf.ET_DYN && o.interp == "" && !o.pie && o.entry == 0:
		return faas.Errorf(faas.KindInvalid, "program %q is a shared library; what is needed is a program", path)
	case o.kind != elf.ET_EXEC && o.kind != elf.ET_DYN:
		return faas.Errorf(faas.KindInvalid, "program %q is an ELF file of type %s; what is needed is an executable", path, o.kind)
	}
	return nil
}

func (f *Finder) addLibraries(c *Closure, path string, o *object) error {
	if o.interp == "" {
		return nil // static
	}
	if !filepath.IsAbs(o.interp) {
		return faas.Errorf(faas.KindInvalid, "program %q asks for the dynamic linker %q, which is no absolute path", path, o.interp)
	}
	if err := checkLinker(o.interp); err != nil {
		return faas.Errorf(faas.KindInvalid, "program %q needs the dynamic linker %q, which is not on this machine: link it statically or use an OCI image: %w",
			path, o.interp, err)
	}
	c.Files = append(c.Files, o.interp)
	s := &search{finder: f, machine: o.machine, class: o.class, dirs: glibcDirs(o.machine)}
	if strings.HasPrefix(filepath.Base(o.interp), "ld-musl-") {
		s.musl, s.dirs = true, muslDirs(o.machine)
	}
	objects, err := s.all(path, o)
	if err != nil {
		return err
	}
	s.collect(c, objects)
	return f.addExternal(c, objects)
}

// checkLinker refuses what is no ELF file: a program may have been sent by
// somebody who would like to see what is in some other file of this machine.
func checkLinker(path string) error {
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer file.Close()
	if _, err := readObject(file); err != nil {
		return errors.New("it is no ELF file")
	}
	return nil
}

// all returns the program and its libraries in breadth-first order.
func (s *search) all(path string, o *object) ([]*loaded, error) {
	// For the program, the kernel tells ld.so the real path.
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	}
	objects := []*loaded{{path: path, object: o}}
	names := map[string]bool{}
	for i := 0; i < len(objects); i++ {
		for _, name := range objects[i].object.needed {
			if names[name] || s.musl && muslProvides(name) {
				continue
			}
			names[name] = true
			l := s.find(name, objects[i])
			if l == nil {
				return nil, faas.Errorf(faas.KindInvalid, "program %q needs the library %q (for %q), which is not on this machine: install it, link statically or use an OCI image",
					path, name, objects[i].path)
			}
			objects = append(objects, l)
		}
	}
	return objects, nil
}

// muslProvides reports whether name is a library that musl's linker is itself
// (ldso/dynlink.c, load_library).
func muslProvides(name string) bool {
	for _, own := range []string{"c", "pthread", "rt", "m", "dl", "util", "xnet"} {
		if strings.HasPrefix(name, "lib"+own+".so") {
			return true
		}
	}
	return false
}

func (s *search) collect(c *Closure, objects []*loaded) {
	home := "/usr/lib"
	for _, l := range objects[1:] {
		if strings.HasPrefix(filepath.Base(l.path), "libc.so.") && contains(s.dirs, filepath.Dir(l.path)) {
			home = filepath.Dir(l.path)
			c.Files = append(c.Files, atRunTime(l.path)...)
		}
	}
	for _, l := range objects[1:] {
		c.Files = append(c.Files, l.path)
		// Inside there is no ld.so.cache, and $ORIGIN of the program is another.
		if !contains(s.dirs, filepath.Dir(l.path)) {
			c.Links[filepath.Join(home, filepath.Base(l.path))] = l.path
		}
	}
}

// atRunTime returns what glibc opens by itself later on: name services, and
// the unwinder that pthread_cancel(3) needs.
func atRunTime(libc string) []string {
	var files []string
	for _, name := range []string{"libnss_files.so.2", "libnss_dns.so.2", "libnss_compat.so.2", "libresolv.so.2", "libgcc_s.so.1"} {
		p := filepath.Join(filepath.Dir(libc), name)
		if _, err := os.Stat(p); err == nil {
			files = append(files, p)
		}
	}
	return files
}

// cached returns the paths that ld.so.cache has for a library.
func (f *Finder) cached(name string) []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	info, err := os.Stat(f.cachePath)
	if err != nil {
		return nil
	}
	if f.cache == nil || !info.ModTime().Equal(f.cacheAt) {
		// Without a readable cache ld.so goes on with its default folders, too.
		f.cache = map[string][]string{}
		if data, err := os.ReadFile(f.cachePath); err == nil {
			if cache, err := parseCache(data); err == nil {
				f.cache = cache
			}
		}
		f.cacheAt = info.ModTime()
	}
	return f.cache[name]
}

func contains(list []string, s string) bool {
	for _, e := range list {
		if e == s {
			return true
		}
	}
	return false
}
