package nanos

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"
)

// maxLinks is how many symbolic links one path may go through, as in Linux.
const maxLinks = 40

// findProgram returns the absolute path of a command in a root file system, and
// checks that the kernel can run it: it knows programs, and no shell and no
// interpreter of scripts. A name without a slash is looked up in PATH, and a
// relative path begins in the working folder.
func findProgram(rootfs, command, dir string, environ []string) (string, error) {
	root, err := os.OpenRoot(rootfs)
	if err != nil {
		return "", err
	}
	defer func() { _ = root.Close() }()
	candidates := []string{path.Join(dir, command)}
	switch {
	case path.IsAbs(command):
		candidates[0] = path.Clean(command)
	case !strings.Contains(command, "/"):
		candidates = nil
		for _, folder := range strings.Split(searchPath(environ), ":") {
			candidates = append(candidates, path.Join(dir, folder, command))
			if path.IsAbs(folder) {
				candidates[len(candidates)-1] = path.Join(folder, command)
			}
		}
	}
	for _, candidate := range candidates {
		real, err := follow(root, candidate)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err == nil {
			err = checkProgram(root, real)
		}
		if err != nil {
			return "", fmt.Errorf("program %q: %w", candidate, err)
		}
		return candidate, nil
	}
	return "", fmt.Errorf("its root file system has no program %q", command)
}

func searchPath(environ []string) string {
	for _, e := range environ {
		if value, ok := strings.CutPrefix(e, "PATH="); ok {
			return value
		}
	}
	return ""
}

// follow returns where an absolute path leads inside of root, without symbolic
// links, and without the leading slash.
func follow(root *os.Root, p string) (string, error) {
	at, rest := "", strings.Split(strings.Trim(p, "/"), "/")
	for links := 0; len(rest) > 0; {
		next := path.Join(at, rest[0])
		if rest[0] == ".." {
			next = strings.TrimPrefix(path.Clean("/"+at+"/.."), "/")
		}
		rest = rest[1:]
		if next == "" || next == "." {
			at = ""
			continue
		}
		info, err := root.Lstat(next)
		if err != nil {
			return "", err
		}
		if info.Mode()&os.ModeSymlink == 0 {
			at = next
			continue
		}
		if links++; links > maxLinks {
			return "", errors.New("too many levels of symbolic links")
		}
		target, err := root.Readlink(next)
		if err != nil {
			return "", err
		}
		if path.IsAbs(target) {
			at = ""
		}
		rest = append(strings.Split(strings.Trim(target, "/"), "/"), rest...)
	}
	return at, nil
}

// checkProgram tells whether the kernel can run a file.
func checkProgram(root *os.Root, name string) error {
	f, err := root.Open(name)
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
		if _, err := follow(root, interpreter); err != nil {
			return fmt.Errorf("it is linked dynamically, and its root file system has no %q; link it statically, or use an image that has its libraries", interpreter)
		}
	}
	return nil
}
