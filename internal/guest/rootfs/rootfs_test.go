package rootfs

import (
	"os"
	"path/filepath"
	"testing"
)

func TestProgram(t *testing.T) {
	dir := t.TempDir()
	for _, file := range []string{"bin/x", "usr/bin/y", "work/z", "work/sub/w"} {
		if err := os.MkdirAll(filepath.Join(dir, filepath.Dir(file)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, file), nil, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "bin/y"), nil, 0o644); err != nil { // no program, though first in PATH
		t.Fatal(err)
	}
	for link, target := range map[string]string{
		"bin/abs": "/usr/bin/y", "bin/out": "../../../../usr/bin/y", "bin/dir": "/usr", "bin/loop": "loop", "bin/host": "/etc/passwd",
	} {
		if err := os.Symlink(target, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	r, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for command, want := range map[string]string{
		"x": "/bin/x", "y": "/usr/bin/y", "w": "/work/sub/w", "./z": "/work/z", "../bin/x": "/bin/x", "/bin/x": "/bin/x", "abs": "/bin/abs", "/bin/out": "/bin/out",
		"z": "", "/x": "", "dir": "", "/bin/dir": "", "loop": "", "/bin/loop": "", "host": "", "": "",
	} {
		if got, err := r.Program(command, "/work", []string{"HOME=/", "PATH=/bin:/usr/bin:sub"}); got != want || (err == nil) != (want != "") {
			t.Errorf("%q: got %q, %v; want %q", command, got, err, want)
		}
	}
	f, err := r.File("/bin/abs")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if name, err := r.Name(f); err != nil || name != "/usr/bin/y" {
		t.Errorf("/bin/abs is %q, %v", name, err)
	}
}
