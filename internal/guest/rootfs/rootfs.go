// Package rootfs looks paths up in a function's root file system as its guest
// will: what a link leads to is inside of it, too. It is for guests whose
// programs are examined before they run.
package rootfs

import (
	"errors"
	"fmt"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// A Root is the root file system in a folder. Its methods may be called
// concurrently, but for Close.
type Root struct{ dir *os.File }

// Open opens the root file system in a folder of the host. The caller closes it.
func Open(dir string) (*Root, error) {
	f, err := os.Open(dir)
	return &Root{f}, err
}

// Close is io.Closer's.
func (r *Root) Close() error { return r.dir.Close() }

// File opens the regular file at an absolute path. The caller closes it.
func (r *Root) File(p string) (*os.File, error) {
	fd, err := unix.Openat2(int(r.dir.Fd()), p, &unix.OpenHow{
		Flags: unix.O_RDONLY | unix.O_CLOEXEC | unix.O_NONBLOCK, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
	})
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: p, Err: err}
	}
	f := os.NewFile(uintptr(fd), p)
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%q is no file", p)
	}
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}

// Has reports whether there is a regular file at an absolute path.
func (r *Root) Has(p string) bool {
	f, err := r.File(p)
	if err == nil {
		_ = f.Close()
	}
	return err == nil
}

// executable reports whether there is a file at an absolute path that somebody may
// execute.
func (r *Root) executable(p string) bool {
	f, err := r.File(p)
	if err != nil {
		return false
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	return err == nil && info.Mode()&0o111 != 0
}

// Program returns the absolute path of a command: one with a slash begins in
// the folder dir unless it is absolute, one without is looked up in PATH of an
// environment.
func (r *Root) Program(command, dir string, environ []string) (string, error) {
	if strings.Contains(command, "/") {
		p := within(dir, command)
		f, err := r.File(p)
		if err != nil {
			return "", fmt.Errorf("the image has no program %q: %w", p, err)
		}
		return p, f.Close()
	}
	search := searchPath(environ)
	for folder := range strings.SplitSeq(search, ":") {
		if p := path.Join(within(dir, folder), command); r.executable(p) {
			return p, nil
		}
	}
	return "", fmt.Errorf("the image has no program %q in %q", command, search)
}

// within returns p as an absolute path, from dir if it is none.
func within(dir, p string) string {
	if path.IsAbs(p) {
		return path.Clean(p)
	}
	return path.Join("/", dir, p)
}

func searchPath(environ []string) string {
	for _, e := range environ {
		if value, ok := strings.CutPrefix(e, "PATH="); ok {
			return value
		}
	}
	return ""
}

// Name returns the absolute path of a file that was opened here, without any
// link in it.
func (r *Root) Name(f *os.File) (string, error) {
	of := func(f *os.File) (string, error) { return os.Readlink(fmt.Sprintf("/proc/self/fd/%d", f.Fd())) }
	base, err1 := of(r.dir)
	name, err2 := of(f)
	if err := errors.Join(err1, err2); err != nil {
		return "", err
	}
	rel, ok := strings.CutPrefix(name, strings.TrimSuffix(base, "/")+"/")
	if !ok {
		return "", fmt.Errorf("%q is not in %q", name, base)
	}
	return "/" + rel, nil
}
