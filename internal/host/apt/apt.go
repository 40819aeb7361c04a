// Package apt downloads packages of Debian and its kin and unpacks them
// privately. Nothing is installed and no hook of a package runs: those of a
// kernel would change how this machine boots. apt verifies what it downloads.
// The package knows nothing of what is in packages.
package apt

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// ErrMissing is returned where there is no apt.
var ErrMissing = errors.New("there is no apt-get and dpkg-deb on this machine")

// Newest returns the first package on which the package meta depends: for
// instance the newest kernel, where meta stands for that.
func Newest(ctx context.Context, meta string) (string, error) {
	out, err := run(ctx, "", "apt-cache", "depends", "--important", meta)
	if err != nil {
		return "", err
	}
	_, name, _ := strings.Cut(string(out), "Depends: ")
	name, _, _ = strings.Cut(name, "\n")
	if name = strings.TrimSpace(name); name == "" {
		return "", fmt.Errorf("apt knows no package %s; apt-get update may help", meta)
	}
	return name, nil
}

// Version returns the version of a package that would be downloaded.
func Version(ctx context.Context, name string) (string, error) {
	out, err := run(ctx, "", "apt-cache", "show", "--no-all-versions", name)
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(out)) {
		if version, ok := strings.CutPrefix(line, "Version: "); ok {
			return strings.TrimSpace(version), nil
		}
	}
	return "", fmt.Errorf("apt tells no version of package %s", name)
}

// Unpack downloads a package and unpacks it into the folder to, which must not
// exist. On error nothing is left.
func Unpack(ctx context.Context, name, to string) (err error) {
	work, err := os.MkdirTemp(filepath.Dir(to), ".package-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(work)) }()
	if _, err := run(ctx, work, "apt-get", "download", "-q", name); err != nil {
		return fmt.Errorf("download package %s (apt-get update may help): %w", name, err)
	}
	debs, err := filepath.Glob(filepath.Join(work, "*.deb"))
	if err != nil || len(debs) != 1 {
		return fmt.Errorf("download package %s: got the files %q, want one", name, debs)
	}
	content := filepath.Join(work, "content")
	if _, err := run(ctx, work, "dpkg-deb", "-x", debs[0], content); err != nil {
		return fmt.Errorf("unpack package %s: %w", name, err)
	}
	return os.Rename(content, to)
}

// run runs a program, whose messages are only of interest when it fails.
func run(ctx context.Context, dir, name string, args ...string) ([]byte, error) {
	if _, err := exec.LookPath(name); err != nil {
		return nil, ErrMissing
	}
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("%s: %w: %s", name, err, bytes.TrimSpace(said.Bytes()))
	}
	return out.Bytes(), nil
}
