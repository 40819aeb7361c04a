package nanos

import (
	"fmt"

	"github.com/unifaas/unifaas/internal/guest/rootfs"
	"github.com/unifaas/unifaas/internal/image/closure"
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
	if err := checkProgram(root, p, environ); err != nil {
		return "", fmt.Errorf("program %q: %w", p, err)
	}
	return p, nil
}

// checkProgram tells whether the kernel can run a file.
func checkProgram(root *rootfs.Root, name string, environ []string) error {
	f, err := root.File(name)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	if _, err := rootfs.ReadProgram(f); err != nil {
		return err
	}
	needs, err := closure.ReadNeeds(f)
	switch {
	case err != nil:
		return fmt.Errorf("it is damaged: %w", err)
	case needs.Interpreter == "":
		return nil
	case !root.Has(needs.Interpreter):
		return fmt.Errorf("it is linked dynamically, and its root file system has no %q; link it statically, or use an image that has its libraries", needs.Interpreter)
	}
	real, err := root.Name(f)
	if err != nil {
		return err
	}
	return root.CheckLinked(needs, real, environ)
}
