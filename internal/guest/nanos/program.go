package nanos

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"io"

	"github.com/unifaas/unifaas/internal/guest/rootfs"
)

// findProgram returns the absolute path of a command in a root file system, and
// checks that the kernel can run it: it knows programs, and no shell and no
// interpreter of scripts.
func findProgram(dir, command, workDir string, environ []string) (string, error) {
	root, err := rootfs.Open(dir)
	if err != nil {
		return "", err
	}
	defer func() { _ = root.Close() }()
	p, err := root.Program(command, workDir, environ)
	if err != nil {
		return "", err
	}
	if err := checkProgram(root, p); err != nil {
		return "", fmt.Errorf("program %q: %w", p, err)
	}
	return p, nil
}

// checkProgram tells whether the kernel can run a file.
func checkProgram(root *rootfs.Root, name string) error {
	f, err := root.File(name)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	head := make([]byte, 4)
	if _, err := io.ReadFull(f, head); err != nil {
		return errors.New("it is no program")
	}
	if bytes.HasPrefix(head, []byte("#!")) {
		return errors.New("it is a script, and a unikernel runs one program alone; name its interpreter in command")
	}
	program, err := elf.NewFile(f)
	if err != nil {
		return errors.New("it is no ELF program, and a unikernel runs nothing else")
	}
	if program.Machine != elf.EM_X86_64 {
		return fmt.Errorf("it is a program for %v, want x86-64", program.Machine)
	}
	for _, p := range program.Progs {
		if p.Type != elf.PT_INTERP || p.Filesz == 0 || p.Filesz > 4096 {
			continue
		}
		name := make([]byte, p.Filesz)
		if _, err := p.ReadAt(name, 0); err != nil {
			return fmt.Errorf("it is damaged: %w", err)
		}
		interpreter := string(bytes.TrimRight(name, "\x00"))
		if !root.Has(interpreter) {
			return fmt.Errorf("it is linked dynamically, and its root file system has no %q; link it statically, or use an image that has its libraries", interpreter)
		}
	}
	return nil
}
