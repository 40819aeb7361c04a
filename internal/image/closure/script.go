package closure

import (
	"os"
	"path/filepath"
	"strings"

	"github.com/unifaas/unifaas/internal/faas"
)

// needLibrary are interpreters that are nothing without a library of scripts
// that no header names.
var needLibrary = [...]string{"python", "perl", "ruby", "php", "java"}

// addScript adds the interpreter of a script, and with "#!/usr/bin/env NAME"
// both env and the program that it would start.
func (f *Finder) addScript(c *Closure, path, head string, depth int) error {
	interpreter, args, ok := interpreterOf(head)
	if !ok {
		return faas.Errorf(faas.KindInvalid, "script %q: its first line names no interpreter by an absolute path", path)
	}
	c.Script = interpreter
	interpreters := []string{interpreter}
	if filepath.Base(interpreter) == "env" {
		name := envProgram(args)
		program, ok := f.LookPath(name)
		if !ok {
			return faas.Errorf(faas.KindInvalid, "script %q asks env for %q, which is not in PATH: install it or use an OCI image", path, name)
		}
		interpreters = append(interpreters, program)
		c.Links[filepath.Join("/usr/local/bin", name)] = program
	}
	for _, p := range interpreters {
		for _, name := range needLibrary {
			if strings.HasPrefix(filepath.Base(p), name) {
				return faas.Errorf(faas.KindInvalid, "script %q is for %s, which needs its library beside it: use dir:ROOTFS or an OCI image", path, filepath.Base(p))
			}
		}
		c.Files = append(c.Files, p)
		if err := f.add(c, p, depth+1); err != nil {
			return faas.Errorf(faas.KindInvalid, "script %q: %w", path, err)
		}
	}
	return nil
}

// interpreterOf reads the first line of a script, which must end within head:
// the interpreter's absolute path, and what it is given before the script.
func interpreterOf(head string) (path string, args []string, ok bool) {
	line, _, found := strings.Cut(head, "\n")
	fields := strings.Fields(strings.TrimPrefix(line, "#!"))
	if !found || len(fields) == 0 || !filepath.IsAbs(fields[0]) {
		return "", nil, false
	}
	return fields[0], fields[1:], true
}

// envProgram returns the program in the arguments of env(1).
func envProgram(args []string) string {
	for _, a := range args {
		if !strings.HasPrefix(a, "-") && !strings.Contains(a, "=") {
			return a
		}
	}
	return ""
}

// LookPath returns the absolute path of the program called name.
func (f *Finder) LookPath(name string) (string, bool) {
	if name == "" || strings.Contains(name, "/") {
		return name, filepath.IsAbs(name)
	}
	for _, dir := range f.path {
		if !filepath.IsAbs(dir) {
			continue
		}
		p := filepath.Join(dir, name)
		if info, err := os.Stat(p); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return p, true
		}
	}
	return "", false
}
