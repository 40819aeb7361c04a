package closure_test

import (
	"debug/elf"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/unifaas/unifaas/internal/faas"
	"github.com/unifaas/unifaas/internal/image/closure"
	"github.com/unifaas/unifaas/internal/image/elftest"
)

// place is a folder with programs and libraries; its linker has no cache.
type place struct {
	t   *testing.T
	dir string
}

func newPlace(t *testing.T) *place {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return &place{t, dir}
}

func (p *place) path(name string) string { return filepath.Join(p.dir, name) }

func (p *place) write(name string, content []byte) string {
	p.t.Helper()
	if err := os.MkdirAll(filepath.Dir(p.path(name)), 0o755); err != nil {
		p.t.Fatal(err)
	}
	if err := os.WriteFile(p.path(name), content, 0o755); err != nil {
		p.t.Fatal(err)
	}
	return p.path(name)
}

// program writes a dynamic program, whose linker is a file of the place.
func (p *place) program(name string, f elftest.File) string {
	f.Interp = p.write("ld.so", elftest.File{}.Bytes(p.t))
	return p.write(name, f.Bytes(p.t))
}

func (p *place) library(name string, f elftest.File) string {
	f.Type = elf.ET_DYN
	return p.write(name, f.Bytes(p.t))
}

func (p *place) finder() *closure.Finder {
	return closure.NewFinder(p.path("no-cache"), []string{p.path("bin")})
}

// find returns the closure's files below the place, by relative path.
func (p *place) find(program string) []string {
	p.t.Helper()
	c, err := p.finder().Find(program)
	if err != nil {
		p.t.Fatal(err)
	}
	var files []string
	for _, f := range c.Files {
		files = append(files, strings.TrimPrefix(f, p.dir+"/"))
	}
	return files
}

func TestStaticProgramNeedsNothing(t *testing.T) {
	p := newPlace(t)
	for name, f := range map[string]elftest.File{
		"exec": {}, "pie": {Type: elf.ET_DYN, Flags1: elf.DF_1_PIE},
	} {
		if got := p.find(p.write(name, f.Bytes(t))); len(got) != 0 {
			t.Errorf("%s needs %v", name, got)
		}
	}
}

func TestRunPathAndTokens(t *testing.T) {
	p := newPlace(t)
	program := p.program("bin/app", elftest.File{
		Needed: []string{"liba.so.1", "libb.so.1", "libc0.so"}, RunPath: "$ORIGIN/../lib:${ORIGIN}/../$LIB/deep",
	})
	p.library("lib/liba.so.1", elftest.File{Needed: []string{"libb.so.1"}})
	p.library("lib64/deep/libb.so.1", elftest.File{})
	p.library("lib/libc0.so", elftest.File{Needed: []string{"liba.so.1"}}) // a cycle
	want := []string{"ld.so", "lib/liba.so.1", "lib64/deep/libb.so.1", "lib/libc0.so"}
	if diff := cmp.Diff(want, p.find(program)); diff != "" {
		t.Error("closure (-want +got):\n", diff)
	}
}

// DT_RUNPATH counts for the object's own needs only, DT_RPATH for those of
// all that it loads.
func TestRPathIsInheritedRunPathIsNot(t *testing.T) {
	p := newPlace(t)
	p.library("lib/liba.so", elftest.File{Needed: []string{"libdeep.so"}})
	p.library("lib/libdeep.so", elftest.File{})
	inherited := p.program("rpath", elftest.File{Needed: []string{"liba.so"}, RPath: p.path("lib")})
	if diff := cmp.Diff([]string{"ld.so", "lib/liba.so", "lib/libdeep.so"}, p.find(inherited)); diff != "" {
		t.Error("closure (-want +got):\n", diff)
	}
	own := p.program("runpath", elftest.File{Needed: []string{"liba.so"}, RunPath: p.path("lib"), RPath: p.path("lib")})
	_, err := p.finder().Find(own)
	if faas.KindOf(err) != faas.KindInvalid || !strings.Contains(err.Error(), `"libdeep.so"`) {
		t.Error("got", err)
	}
}

func TestLibraryOfAnotherMachineIsPassedOver(t *testing.T) {
	p := newPlace(t)
	program := p.program("app", elftest.File{Needed: []string{"liba.so"}, RunPath: p.path("wrong") + "::" + p.path("right")})
	p.library("wrong/liba.so", elftest.File{Machine: elf.EM_S390})
	p.library("right/liba.so", elftest.File{})
	if diff := cmp.Diff([]string{"ld.so", "right/liba.so"}, p.find(program)); diff != "" {
		t.Error("closure (-want +got):\n", diff)
	}
}

// A library that the linker inside would not find by itself gets a link in a
// default folder.
func TestLibraryElsewhereGetsALink(t *testing.T) {
	p := newPlace(t)
	lib := p.library("odd/liba.so", elftest.File{})
	c, err := p.finder().Find(p.program("app", elftest.File{Needed: []string{"liba.so"}, RunPath: p.path("odd")}))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]string{"/usr/lib/liba.so": lib}, c.Links); diff != "" {
		t.Error("links (-want +got):\n", diff)
	}
}

func TestErrorsNameTheFileAndTheRemedy(t *testing.T) {
	p := newPlace(t)
	lib := elftest.File{Type: elf.ET_DYN}.Bytes(t)
	clear(lib[24:32]) // no entry point
	for name, test := range map[string]struct {
		content []byte
		want    string
	}{
		"foreign":  {elftest.File{Machine: elf.EM_S390}.Bytes(t), "is an ELF binary for s390"},
		"library":  {lib, "is a shared library"},
		"object":   {elftest.File{Type: elf.ET_REL}.Bytes(t), "is an ELF file of type ET_REL"},
		"cut":      {elftest.File{Needed: []string{"x"}}.Bytes(t)[:100], "is a damaged ELF file"},
		"empty":    {nil, "is empty"},
		"windows":  {[]byte("MZ\x90\x00"), "is a Windows program"},
		"text":     {[]byte("hello, world\n"), "is a text file"},
		"noise":    {[]byte{0, 1, 2, 3, 0xff}, "is no program of a known format"},
		"linker":   {elftest.File{Interp: "/no/such/ld.so"}.Bytes(t), "link it statically"},
		"secret":   {elftest.File{Interp: "/etc/passwd"}.Bytes(t), "no ELF file"},
		"python":   {[]byte("#!/usr/bin/python3\n"), "use dir:ROOTFS or an OCI image"},
		"env":      {[]byte("#!/usr/bin/env nosuchprogram\n"), `"nosuchprogram", which is not in PATH`},
		"relative": {[]byte("#!node\n"), "names no interpreter by an absolute path"},
		"endless":  {[]byte("#!" + p.path("endless") + "\n"), "too many interpreters"},
	} {
		t.Run(name, func(t *testing.T) {
			file := p.write(name, test.content)
			_, err := p.finder().Find(file)
			if err == nil || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), file) {
				t.Errorf("got %v, want %q about %q", err, test.want, file)
			}
			if faas.KindOf(err) != faas.KindInvalid {
				t.Error("kind is", faas.KindOf(err))
			}
		})
	}
}

func TestScripts(t *testing.T) {
	p := newPlace(t)
	interpreter := p.program("bin/tool", elftest.File{Needed: []string{"liba.so"}, RunPath: p.path("lib")})
	p.library("lib/liba.so", elftest.File{})
	script := p.write("script", []byte("#! "+interpreter+" -x\ncode\n"))
	if diff := cmp.Diff([]string{"bin/tool", "ld.so", "lib/liba.so"}, p.find(script)); diff != "" {
		t.Error("closure (-want +got):\n", diff)
	}
	env := p.write("env-dir/env", elftest.File{}.Bytes(t))
	c, err := p.finder().Find(p.write("env-script", []byte("#!"+env+" -S A=b tool\n")))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{env, interpreter, p.path("lib/liba.so")} {
		if !slices.Contains(c.Files, want) {
			t.Errorf("files %q lack %q", c.Files, want)
		}
	}
	if c.Links["/usr/local/bin/tool"] != interpreter {
		t.Error("links are", c.Links)
	}
}

// The host's shell is dynamic on every distribution that we know of; its
// closure must be what the real linker finds.
func TestRealProgram(t *testing.T) {
	sh, err := filepath.EvalSymlinks("/bin/sh")
	if err != nil {
		t.Skip("there is no /bin/sh")
	}
	c, err := closure.NewFinder("/etc/ld.so.cache", nil).Find(sh)
	if err != nil {
		t.Fatal(err)
	}
	names := strings.Join(c.Files, " ")
	if len(c.Files) > 0 && !strings.Contains(names, "ld-") {
		t.Errorf("no linker in %q", names)
	}
	for _, f := range c.Files {
		if _, err := os.Stat(f); err != nil {
			t.Error(err)
		}
	}
}
