package nanos

import (
	"debug/elf"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/unifaas/unifaas/internal/image/elftest"
)

func TestFindProgram(t *testing.T) {
	rootfs := t.TempDir()
	program := elftest.File{Machine: elf.EM_X86_64}.Bytes(t)
	put(t, rootfs, "usr/bin/f", program)
	put(t, rootfs, "work/f", program)
	put(t, rootfs, "script", []byte("#!/bin/sh\n"))
	put(t, rootfs, "text", []byte("text, and no program"))
	put(t, rootfs, "arm", elftest.File{Machine: elf.EM_AARCH64}.Bytes(t))
	put(t, rootfs, "dynamic", elftest.File{Machine: elf.EM_X86_64, Interp: "/lib64/ld.so"}.Bytes(t))
	put(t, rootfs, "with-libraries", elftest.File{Machine: elf.EM_X86_64, Interp: "/lib/ld.so"}.Bytes(t))
	put(t, rootfs, "usr/lib/ld.so", program)
	put(t, rootfs, "opt/bin/p", elftest.File{Machine: elf.EM_X86_64, Interp: "/lib/ld.so", Needed: []string{"libp.so"}, RunPath: "$ORIGIN/../lib"}.Bytes(t))
	put(t, rootfs, "opt/lib/libp.so", program)
	put(t, rootfs, "needs-c", elftest.File{Machine: elf.EM_X86_64, Interp: "/lib/ld.so", Needed: []string{"libc.so.6"}}.Bytes(t))
	put(t, rootfs, "object", elftest.File{Machine: elf.EM_X86_64, Type: elf.ET_REL}.Bytes(t))
	put(t, rootfs, "library", elftest.File{Machine: elf.EM_X86_64, Type: elf.ET_DYN, Library: true}.Bytes(t))
	for name, target := range map[string]string{"bin": "usr/bin", "lib": "/usr/lib", "loop": "loop", "linked": "/opt/bin/p", "up": "../../../usr/bin/f", "out": "/etc/passwd"} {
		if err := os.Symlink(target, filepath.Join(rootfs, name)); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct{ command, dir, path, want, err string }{
		{command: "/usr/bin/f", want: "/usr/bin/f"},
		{command: "/bin/f", want: "/bin/f"},
		{command: "/up", want: "/up"},
		{command: "f", path: "/none:/bin", want: "/bin/f"},
		{command: "f", path: ".:/bin", dir: "/work", want: "/work/f"},
		{command: "./f", dir: "/work", want: "/work/f"},
		{command: "../usr/bin/f", dir: "/work", want: "/usr/bin/f"},
		{command: "/with-libraries", want: "/with-libraries"},
		{command: "g", path: "/bin", err: `no program "g"`},
		{command: "/g", err: `no program "/g"`},
		{command: "/script", err: "name its interpreter as the command's first word"},
		{command: "/text", err: "no ELF file"},
		{command: "/arm", err: "EM_AARCH64"},
		{command: "/dynamic", err: `no "/lib64/ld.so"; link it statically`},
		{command: "/linked", want: "/linked"},
		{command: "/needs-c", err: "it needs libc.so.6, which the image does not have"},
		{command: "/object", err: "no program, but of type ET_REL"},
		{command: "/library", err: "it is a library"},
		{command: "/loop", err: "symbolic links"},
		{command: "/out", err: "no program"}, // inside, there is no /etc/passwd
		{command: "/usr", err: "no program"},
	} {
		if c.dir == "" {
			c.dir = "/"
		}
		got, err := findProgram(rootfs, c.command, c.dir, []string{"PATH=" + c.path})
		switch {
		case c.err == "" && (err != nil || got != c.want):
			t.Errorf("%+v: got %q, %v", c, got, err)
		case c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)):
			t.Errorf("%+v: got %q, %v", c, got, err)
		}
	}
}
