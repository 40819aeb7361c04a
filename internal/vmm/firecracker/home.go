package firecracker

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Names in a home. Firecracker is told them as they are.
const (
	apiName      = "api.sock"
	logName      = "log"
	vsockName    = "vsock.sock"
	kernelName   = "kernel"
	initrdName   = "initrd"
	snapshotName = "snapshot" // a folder, while a snapshot is taken
	stateName    = "state"    // of a snapshot
	memoryName   = "memory"   // of a snapshot
)

func diskName(i int) string { return fmt.Sprintf("disk%d", i) }
func nicName(i int) string  { return fmt.Sprintf("eth%d", i) }

// recordName is a file in the machine's folder, written before its home is
// made: what finds it again.
const recordName = "firecracker.json"

// A home is the folder with what one machine's Firecracker sees.
type home struct {
	// Top is removed when the machine has ended. It holds Dir, in the jailer's
	// manner at some depth.
	Top    string `json:"top"`
	Dir    string `json:"dir"`
	Jailed bool   `json:"jailed"`
	UID    int    `json:"uid"` // whose Dir is; -1: this process's
	GID    int    `json:"gid"`
}

// makeHome makes the folder and records it in the machine's own, dir.
func makeHome(dir string, h home) error {
	text, err := json.Marshal(h)
	if err != nil {
		return err
	}
	if err := writeNew(filepath.Join(dir, recordName), text); err != nil {
		return fmt.Errorf("record the home %q: %w", h.Top, err)
	}
	if err := os.MkdirAll(filepath.Dir(h.Top), 0o711); err != nil {
		return errors.Join(err, os.Remove(filepath.Join(dir, recordName)))
	}
	// Not MkdirAll: another machine's home is not to be taken for this one's.
	if err := os.Mkdir(h.Top, 0o700); err != nil {
		return errors.Join(err, os.Remove(filepath.Join(dir, recordName)))
	}
	if h.Jailed {
		err = usable(h.Top)
	}
	if err == nil {
		err = os.MkdirAll(h.Dir, 0o700)
	}
	if err == nil {
		err = h.give(h.Dir)
	}
	if err != nil {
		err = errors.Join(fmt.Errorf("make the home %q: %w", h.Dir, err), h.remove(dir))
	}
	return err
}

// writeNew writes a file that must not exist: that would be of a machine that
// runs, or has to be recovered first.
func writeNew(path string, text []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	if _, err = f.Write(text); err != nil {
		err = errors.Join(err, os.Remove(path))
	}
	return errors.Join(err, f.Close())
}

// readHome reads what makeHome has recorded.
func readHome(dir string) (h home, err error) {
	text, err := os.ReadFile(filepath.Join(dir, recordName))
	if err == nil {
		err = json.Unmarshal(text, &h)
	}
	if err == nil && (h.Top == "" || h.Dir == "") {
		err = errors.New("it names no home")
	}
	if err != nil {
		err = fmt.Errorf("read the record of the machine in %q: %w", dir, err)
	}
	return h, err
}

// remove undoes makeHome. It is idempotent.
func (h home) remove(dir string) error {
	if err := os.RemoveAll(h.Top); err != nil {
		return err
	}
	err := os.Remove(filepath.Join(dir, recordName))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

func (h home) path(name string) string { return filepath.Join(h.Dir, name) }

// give makes a path of the home its user's.
func (h home) give(path string) error {
	if h.UID < 0 {
		return nil
	}
	return os.Lchown(path, h.UID, h.GID)
}

// insert puts what create makes at a path into the home of a Firecracker that runs,
// as its user's. That user may do anything in there, for instance put a link to a
// file that machines share in the place of what is about to become its own: so that
// is done before, where it can't get.
func (h home) insert(name string, create func(path string) error) (err error) {
	staged := filepath.Join(h.Top, name+".new")
	if err := os.RemoveAll(staged); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(staged))
		}
	}()
	if err := create(staged); err != nil {
		return err
	}
	if err := h.give(staged); err != nil {
		return err
	}
	return os.Rename(staged, h.path(name))
}

// usable tells whether a jail can be in dir: it has a program and devices. A dir
// that is not there yet will be made in the nearest folder above that is.
func usable(dir string) error {
	var fs unix.Statfs_t
	err := unix.Statfs(dir, &fs)
	if errors.Is(err, os.ErrNotExist) && filepath.Dir(dir) != dir {
		return usable(filepath.Dir(dir))
	}
	if err != nil {
		return &os.PathError{Op: "statfs", Path: dir, Err: err}
	}
	for _, flag := range []struct {
		bit  int64
		name string
	}{{unix.ST_NODEV, "nodev"}, {unix.ST_NOEXEC, "noexec"}} {
		if fs.Flags&flag.bit != 0 {
			return fmt.Errorf("no jail can be in %q: its file system is mounted %s", dir, flag.name)
		}
	}
	return nil
}

// place makes a file of the host visible in the home. Of the ways, a link
// costs nothing and is undone with the home. Where it can't be made (another
// file system, or a file of another user's), a home of this process's own user
// has a symbolic link instead. That is no way out of a jail, nor through
// folders that are closed to Firecracker's user: then a file that is only read
// is copied, which takes its time; one that is written must not be two.
func (h home) place(file, name string, readOnly bool) error {
	file, err := filepath.EvalSymlinks(file) // link(2) would link a symbolic link itself
	if err != nil {
		return err
	}
	to := h.path(name)
	err = os.Link(file, to)
	switch {
	case err == nil:
		if readOnly {
			return nil
		}
		return h.give(to)
	case h.UID < 0:
		if file, err = filepath.Abs(file); err != nil {
			return err
		}
		return os.Symlink(file, to)
	case readOnly && errors.Is(err, unix.EXDEV):
		return h.copyTo(file, to)
	case errors.Is(err, unix.EXDEV):
		return fmt.Errorf("disk %q is written, and must be on the file system of its home %q: %w", file, h.Dir, err)
	}
	return err
}

func (h home) copyTo(file, to string) (err error) {
	from, err := os.Open(file)
	if err != nil {
		return err
	}
	defer from.Close()
	f, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o400)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if _, err := io.Copy(f, from); err != nil {
		return fmt.Errorf("copy %q: %w", file, err)
	}
	return h.give(to)
}
