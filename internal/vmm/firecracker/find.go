package firecracker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// environment are the variables that may name the program, the first first.
var environment = []string{"UNIFAAS_FIRECRACKER", "FIRECRACKER_EXE"}

// errNoProgram says that there is no Firecracker here.
var errNoProgram = errors.New("there is no firecracker on PATH, and UNIFAAS_FIRECRACKER does not name one")

// programs are the files that a machine is started with.
type programs struct {
	firecracker string // absolute
	jailer      string // absolute; "" for none, or when not root
}

func (m *Monitor) find() (programs, error) {
	path, err := m.findProgram()
	if err != nil {
		return programs{}, err
	}
	// The jailer names folders after the file that a link leads to.
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return programs{}, err
	}
	p := programs{firecracker: real}
	if os.Geteuid() == 0 {
		p.jailer = findJailer(path, real)
	}
	return p, nil
}

// findJailer looks beside the program, also under the names of a release:
// "firecracker-v1.16.1-x86_64" and "jailer-v1.16.1-x86_64".
func findJailer(beside ...string) string {
	for _, path := range beside {
		dir, name := filepath.Split(path)
		for _, jailer := range []string{"jailer", strings.Replace(name, "firecracker", "jailer", 1)} {
			if jailer == name {
				continue
			}
			if found, err := exec.LookPath(filepath.Join(dir, jailer)); err == nil {
				return found
			}
		}
	}
	return ""
}

func (m *Monitor) findProgram() (string, error) {
	named, by := m.options.Path, "the configuration"
	for _, name := range environment {
		if named == "" {
			named, by = os.Getenv(name), name
		}
	}
	if named == "" {
		path, err := exec.LookPath("firecracker")
		if err != nil {
			return "", errNoProgram
		}
		return filepath.Abs(path)
	}
	path, err := filepath.Abs(named)
	if err == nil {
		_, err = exec.LookPath(path)
	}
	if err != nil {
		return "", fmt.Errorf("find firecracker, which %s names: %w", by, err)
	}
	return path, nil
}

// askTimeout bounds the question for the program's version.
const askTimeout = 10 * time.Second

// ask runs the program to learn its version.
func (p programs) ask(ctx context.Context) (version, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, p.firecracker, "--version")
	cmd.WaitDelay = time.Second
	out, err := cmd.Output()
	if err != nil {
		return version{}, fmt.Errorf("run %q --version: %w", p.firecracker, err)
	}
	first, _, _ := bytes.Cut(out, []byte("\n"))
	_, number, ok := bytes.Cut(first, []byte("Firecracker v"))
	v, err := parseVersion(string(bytes.TrimSpace(number)))
	if !ok || err != nil {
		return version{}, fmt.Errorf("run %q --version: it says %.60q, which is no version of Firecracker", p.firecracker, first)
	}
	return v, nil
}
