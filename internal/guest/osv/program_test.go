package osv

import (
	"debug/elf"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/unifaas/unifaas/internal/guest/rootfs"
	"github.com/unifaas/unifaas/internal/image/elftest"
)

var present = &Loader{Version: "v0.99.0", Static: true, First: 0x40200000, Last: 0x40900000}

func newRoot(t *testing.T, files map[string][]byte) (root, string) {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		put(t, dir, name, content)
	}
	r, err := rootfs.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	return root{r}, dir
}

func TestCheck(t *testing.T) {
	const linker = "/lib64/ld-linux-x86-64.so.2"
	old := *present
	old.Static = false
	file := func(f elftest.File) []byte {
		if f.Machine == 0 {
			f.Machine = elf.EM_X86_64
		}
		return f.Bytes(t)
	}
	static := file(elftest.File{})
	dynamic := file(elftest.File{Type: elf.ET_DYN, Interp: linker, Needed: []string{"libc.so.6", "libx.so.1"}})
	needsC := file(elftest.File{Type: elf.ET_DYN, Interp: linker, Needed: []string{"libc.so.6"}})
	for name, c := range map[string]struct {
		files       map[string][]byte
		loader      *Loader
		environ     []string
		interpreter string
		fault       string // "" wants none
	}{
		"static":                      {files: map[string][]byte{"f": static}},
		"static, an old kernel":       {files: map[string][]byte{"f": static}, loader: &old, fault: "statically linked, which OSv v0.99.0 does not run"},
		"static, where the kernel is": {files: map[string][]byte{"f": static}, loader: &Loader{Static: true, Last: 1}, fault: "build it position-independent"},
		"script":                      {files: map[string][]byte{"f": []byte("#!/bin/sh\n")}, fault: "it is a script"},
		"text":                        {files: map[string][]byte{"f": []byte("hello")}, fault: "it is no ELF file"},
		"empty":                       {files: map[string][]byte{"f": nil}, fault: "it is no ELF file"},
		"cut off":                     {files: map[string][]byte{"f": static[:40]}, fault: "EOF"},
		"arm64":                       {files: map[string][]byte{"f": file(elftest.File{Machine: elf.EM_AARCH64})}, fault: "it is for EM_AARCH64, want x86-64"},
		"object":                      {files: map[string][]byte{"f": file(elftest.File{Type: elf.ET_REL})}, fault: "it is no program"},
		"nothing":                     {fault: "no such file"},
		"by OSv's own libraries":      {files: map[string][]byte{"f": needsC}},
		"a library is missing":        {files: map[string][]byte{"f": dynamic}, fault: "it needs libx.so.1, which OSv looks for in / and /usr/lib"},
		"a library of the image":      {files: map[string][]byte{"f": dynamic, "usr/lib/libx.so.1": needsC}},
		"a library's library": {
			files: map[string][]byte{"f": dynamic, "usr/lib/libx.so.1": file(elftest.File{Needed: []string{"liby.so"}})}, fault: "it needs liby.so",
		},
		"by its dynamic linker": {
			files: map[string][]byte{"f": needsC, "lib64/ld-linux-x86-64.so.2": static, "lib/libc.so.6": static}, interpreter: linker,
		},
		"by its dynamic linker, an old kernel": {
			files: map[string][]byte{"f": needsC, "lib64/ld-linux-x86-64.so.2": static, "lib/libc.so.6": static}, loader: &old,
		},
		"its dynamic linker finds nothing": {
			files: map[string][]byte{"f": needsC, "lib64/ld-linux-x86-64.so.2": static}, fault: "it needs libc.so.6, which the image does not have",
		},
		"its dynamic linker may know": {
			files: map[string][]byte{"f": needsC, "lib64/ld-linux-x86-64.so.2": static, "etc/ld.so.cache": nil}, interpreter: linker,
		},
		"its dynamic linker is told": {
			files: map[string][]byte{"f": needsC, "lib64/ld-linux-x86-64.so.2": static}, environ: []string{"LD_LIBRARY_PATH=/opt"}, interpreter: linker,
		},
		"as its program's": {
			files: map[string][]byte{
				"f":           file(elftest.File{Interp: linker, Needed: []string{"libz.so"}, RPath: "${ORIGIN}/own"}),
				"own/libz.so": file(elftest.File{Needed: []string{"liby.so"}}),
				"own/liby.so": static, "lib64/ld-linux-x86-64.so.2": static,
			}, interpreter: linker,
		},
		"beside the program": {
			files: map[string][]byte{
				"f": file(elftest.File{Interp: linker, Needed: []string{"libz.so"}, RunPath: "$ORIGIN/own"}), "own/libz.so": static, "lib64/ld-linux-x86-64.so.2": static,
			}, interpreter: linker,
		},
	} {
		t.Run(name, func(t *testing.T) {
			r, _ := newRoot(t, c.files)
			if c.loader == nil {
				c.loader = present
			}
			prog, err := r.check("/f", c.loader, c.environ)
			switch {
			case c.fault == "" && err != nil, c.fault != "" && (err == nil || !strings.Contains(err.Error(), c.fault)):
				t.Errorf("got %v, want %q", err, c.fault)
			case err == nil && (prog.interpreter != c.interpreter || prog.path != "/f"):
				t.Errorf("got %+v", prog)
			}
		})
	}
}

// TestPrefault prepares Go programs, which then run on Linux as they did before,
// and checks that what they touch is their .bss.
func TestPrefault(t *testing.T) {
	if runtime.GOARCH != "amd64" {
		t.Skip("OSv's programs are of amd64")
	}
	for name, flags := range map[string][]string{
		"plain": nil, "stripped": {"-ldflags=-s -w"}, "without build id": {"-ldflags=-buildid= -B none"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			program := filepath.Join(dir, "real")
			build := exec.Command("go", append(append([]string{"build", "-o", program}, flags...), "./testdata/go")...)
			build.Env = append(os.Environ(), "CGO_ENABLED=0")
			if out, err := build.CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			if err := os.Symlink("/real", filepath.Join(dir, "f")); err != nil {
				t.Fatal(err)
			}
			r, err := rootfs.Open(dir)
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			prog, err := root{r}.check("/f", present, nil)
			if err != nil {
				t.Fatal(err)
			}
			if len(prog.edits) < 2 || prog.edits[0].Path != "/real" {
				t.Fatalf("edits: got %+v", prog.edits)
			}
			prepared := contents(t, writeDisk(t, dir, prog.edits...))["/real"]
			put(t, dir, "prepared", []byte(prepared))
			wantRuns(t, filepath.Join(dir, "prepared"))
		})
	}
}

func wantRuns(t *testing.T, program string) {
	t.Helper()
	cmd := exec.Command(program, "a", "b")
	cmd.Env = []string{"GREETING=hello"}
	out, err := cmd.CombinedOutput()
	if err != nil || string(out) != "a b hello\n" {
		t.Errorf("got %q, %v", out, err)
	}
	file, err := elf.Open(program)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	start, pages := untouched(file)
	bss := file.Section(".bss")
	if last := start + uint64(pages)*pageSize; pages == 0 || start >= bss.Addr+bss.Size || last > bss.Addr+prefaulted+pageSize {
		t.Errorf("it touches %d pages from %#x on; .bss is at %#x with %d bytes", pages, start, bss.Addr, bss.Size)
	}
}
