package qemu

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/unifaas/unifaas/internal/host/sparse"
	"github.com/unifaas/unifaas/internal/vmm"
)

// The files of a snapshot, beside [shapeName], which is written last. There is
// no file memoryName when the machine was a restored one: then its memory,
// which is no file, is in the state.
const (
	stateName  = "state"
	memoryName = "memory"
)

// A kept snapshot is one that is read to restore a machine.
type kept struct {
	Shape   shape  `json:"shape"`
	Version string `json:"version"` // of QEMU
	// Memory says that there is a file memoryName.
	Memory bool `json:"memory"`

	dir    string
	source source
}

// Snapshot implements [vmm.Machine]. It writes no more than the guest has
// touched of its memory.
func (m *machine) Snapshot(ctx context.Context, to string) error {
	m.snapshot.Lock()
	defer m.snapshot.Unlock()
	err := checkEmpty(to)
	if err == nil {
		if err = m.keep(ctx, to); err != nil {
			for _, name := range []string{shapeName, stateName, memoryName} {
				os.Remove(filepath.Join(to, name))
			}
		}
	}
	if err != nil {
		return fmt.Errorf("keep machine in %s: %w", to, err)
	}
	return nil
}

func checkEmpty(dir string) error {
	entries, err := os.ReadDir(dir)
	if err == nil && len(entries) > 0 {
		err = errors.New("the folder is not empty")
	}
	return err
}

func (m *machine) keep(ctx context.Context, to string) error {
	// QEMU 7.2 opens the memory of a restored machine for writing, also where
	// it maps it so that nothing is written: see restore. Its user may, and so
	// nobody else may come near.
	if err := os.Chmod(to, 0o700); err != nil {
		return err
	}
	memory, err := m.openMemory()
	if err != nil {
		return err
	}
	if memory != nil {
		defer memory.Close()
	}
	if err := m.prepare(ctx, memory != nil); err != nil {
		return err
	}
	if err := m.keepState(ctx, filepath.Join(to, stateName)); err != nil {
		return err
	}
	// The machine is stopped: its memory does not change any more.
	if memory != nil {
		if err := copySparse(ctx, filepath.Join(to, memoryName), memory); err != nil {
			return err
		}
	}
	k := kept{Shape: m.shape, Version: m.conn.Version().String(), Memory: memory != nil}
	return writeJSON(filepath.Join(to, shapeName), k)
}

// keepState has QEMU write all but the memory, stopping the machine. It writes
// to a pipe: its user need not reach the file, and newer versions take no
// regular file by descriptor.
func (m *machine) keepState(ctx context.Context, path string) error {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer file.Close()
	in, out, err := os.Pipe()
	if err != nil {
		return err
	}
	defer in.Close()
	err = m.conn.SendFile(ctx, stateName, out)
	out.Close()
	if err != nil {
		return err
	}
	var copyErr error
	copied := make(chan struct{})
	go func() {
		defer close(copied)
		_, copyErr = io.Copy(file, in)
	}()
	if err := m.emit(ctx); err != nil {
		in.Close() // ends the copy, wherever QEMU is
		<-copied
		return err
	}
	<-copied
	return errors.Join(copyErr, file.Close())
}

// emit moves the machine's state out.
func (m *machine) emit(ctx context.Context) error {
	m.migration.set("")
	if err := m.execute(ctx, "migrate", map[string]any{"uri": "fd:" + stateName}, nil); err != nil {
		return err
	}
	return m.moved(ctx)
}

// openMemory opens the memory of the machine, which is nil when it is not a
// file. Only QEMU has it, and the kernel tells of what QEMU has open.
func (m *machine) openMemory() (*os.File, error) {
	folder := fmt.Sprintf("/proc/%d/fd", m.process.Pid)
	entries, err := os.ReadDir(folder)
	if err != nil {
		return nil, fmt.Errorf("look for the machine's memory: %w", err)
	}
	for _, entry := range entries {
		path := filepath.Join(folder, entry.Name())
		if target, err := os.Readlink(path); err != nil || !strings.HasPrefix(target, "/memfd:memory-backend-memfd") {
			continue
		}
		file, err := os.Open(path)
		if err == nil {
			err = m.checkMemory(file)
		}
		if err != nil {
			return nil, fmt.Errorf("open the machine's memory: %w", err)
		}
		return file, nil
	}
	return nil, nil
}

// checkMemory keeps a QEMU that its guest has taken over from having anything
// else copied.
func (m *machine) checkMemory(file *os.File) error {
	info, err := file.Stat()
	if err == nil && (!info.Mode().IsRegular() || info.Size() != m.shape.Memory) {
		err = fmt.Errorf("it is of %d bytes, want %d", info.Size(), m.shape.Memory)
	}
	if err != nil {
		file.Close()
	}
	return err
}

// copySparse copies what is there of from, in pieces, leaving out its holes.
func copySparse(ctx context.Context, path string, from *os.File) error {
	info, err := from.Stat()
	if err != nil {
		return err
	}
	to, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer to.Close()
	if err := errors.Join(to.Chmod(0o666), to.Truncate(info.Size())); err != nil {
		return err
	}
	for at := int64(0); at < info.Size(); {
		begin, end, err := sparse.Data(from, at, info.Size())
		if err == nil {
			end = min(end, begin+piece)
			err = errors.Join(ctx.Err(), sparse.CopyRange(to, begin, from, begin, end-begin))
		}
		if err != nil {
			return fmt.Errorf("copy memory to %s: %w", path, err)
		}
		at = end
	}
	return to.Close()
}

// piece is what is copied before it is asked whether to go on, bytes.
const piece = 16 * mebibyte

// Restore implements [vmm.Monitor].
func (m *Monitor) Restore(ctx context.Context, c vmm.Config, from string) (vmm.Machine, error) {
	inst, err := m.restore(ctx, &c, from)
	if err != nil {
		return nil, fmt.Errorf("restore machine %q of %s: %w", c.ID, from, err)
	}
	return inst, nil
}
