package firecracker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/unifaas/unifaas/internal/vmm/firecracker/api"
)

// Snapshot keeps the machine. See [vmm.Machine]. A machine that was running
// and can't be kept goes on.
func (m *machine) Snapshot(ctx context.Context, to string) error {
	m.states.Lock()
	defer m.states.Unlock()
	entries, err := os.ReadDir(to)
	if err != nil {
		return fmt.Errorf("keep machine: %w", err)
	}
	if len(entries) > 0 {
		return fmt.Errorf("keep machine: folder %q is not empty", to)
	}
	ran, err := m.pause(ctx)
	if err != nil {
		return err
	}
	if err = m.snapshot(ctx, to); err == nil {
		return nil
	}
	err = fmt.Errorf("keep machine in %q: %w", to, m.explain(ctx, err))
	if ran {
		undo, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTimeout)
		defer cancel()
		err = errors.Join(err, m.resume(undo))
	}
	return err
}

// snapshot has Firecracker write in a folder of its home, and moves that out.
func (m *machine) snapshot(ctx context.Context, to string) (err error) {
	work := m.home.path(snapshotName)
	defer func() { err = errors.Join(err, os.RemoveAll(work)) }()
	if err := m.home.insert(snapshotName, func(path string) error { return os.Mkdir(path, 0o700) }); err != nil {
		return err
	}
	err = m.client.CreateSnapshot(ctx, api.SnapshotCreate{
		SnapshotType: api.SnapshotFull,
		SnapshotPath: filepath.Join(snapshotName, stateName),
		MemFilePath:  filepath.Join(snapshotName, memoryName),
	})
	if err != nil {
		return err
	}
	// Firecracker's user may put anything in its place, a link to another folder, too.
	dir, err := os.OpenFile(work, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer func() { _ = dir.Close() }()
	for _, name := range []string{stateName, memoryName} {
		if err := takeOut(dir, name, filepath.Join(to, name)); err != nil {
			return errors.Join(err, os.RemoveAll(filepath.Join(to, stateName)), os.RemoveAll(filepath.Join(to, memoryName)))
		}
	}
	return nil
}

// takeOut moves a file that Firecracker has written in a folder, and makes it this
// process's own, that others may read and nobody may write: machines under
// other users are made of it. Its folder decides who can reach it.
func takeOut(dir *os.File, name, to string) error {
	// Nor can what has the name be trusted.
	fd, err := unix.Openat(int(dir.Fd()), name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: filepath.Join(dir.Name(), name), Err: err}
	}
	f := os.NewFile(uintptr(fd), name)
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%q is no file", name)
	}
	err = unix.Renameat(int(dir.Fd()), name, unix.AT_FDCWD, to)
	if errors.Is(err, unix.EXDEV) {
		return copyOut(f, to)
	}
	if err != nil {
		return err
	}
	// The file that was looked at, whatever the name leads to.
	return errors.Join(f.Chown(os.Geteuid(), os.Getegid()), f.Chmod(0o444))
}

// copyOut copies for want of a common file system. What is zero becomes a
// hole: that is most of a guest's memory.
func copyOut(from *os.File, to string) (err error) {
	f, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o444)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	buffer := make([]byte, 1<<20)
	for at := int64(0); ; {
		n, err := io.ReadFull(from, buffer)
		if n > 0 && !isZero(buffer[:n]) {
			if _, err := f.WriteAt(buffer[:n], at); err != nil {
				return err
			}
		}
		at += int64(n)
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return f.Truncate(at)
		}
		if err != nil {
			return err
		}
	}
}

func isZero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}
