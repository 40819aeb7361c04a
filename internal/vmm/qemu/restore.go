package qemu

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/unifaas/unifaas/internal/vmm"
)

func (m *Monitor) restore(ctx context.Context, c *vmm.Config, from string) (*machine, error) {
	k := &kept{dir: from}
	if err := readJSON(filepath.Join(from, shapeName), k); err != nil {
		return nil, err
	}
	s := starter{monitor: m, config: c}
	if k.Memory {
		file, err := s.openKept(ctx, k)
		if err != nil {
			return nil, err
		}
		defer file.Close()
	}
	return s.start(ctx, k)
}

// openKept opens the memory of a snapshot for QEMU, whose user need not reach
// the folder, and which opens it once more by the descriptor. QEMU before 8.2
// can't have memory that it may write from a file that it may not; nothing is
// written to the file all the same, unless by a QEMU that its guest has taken
// over. From 8.2 on (qapi/qom.json: MemoryBackendFileProperties, rom) it is
// opened for reading.
func (s *starter) openKept(ctx context.Context, k *kept) (*os.File, error) {
	version, err := s.monitor.version(ctx)
	if err != nil {
		return nil, err
	}
	file, err := os.Open(filepath.Join(k.dir, memoryName))
	if err != nil {
		return nil, err
	}
	k.source.file, k.source.readOnly = file, version.AtLeast(8, 2)
	return file, nil
}

// load gives a machine that waits for it the state of a snapshot, and runs it.
func (m *machine) load(ctx context.Context, k *kept) error {
	file, err := os.Open(filepath.Join(k.dir, stateName))
	if err != nil {
		return err
	}
	defer file.Close()
	if err := m.prepare(ctx, k.Memory); err != nil {
		return err
	}
	in, out, err := os.Pipe()
	if err != nil {
		return err
	}
	defer out.Close()
	err = m.conn.SendFile(ctx, stateName, in)
	in.Close()
	if err != nil {
		return err
	}
	var copyErr error
	copied := make(chan struct{})
	go func() {
		defer close(copied)
		_, copyErr = io.Copy(out, file)
		copyErr = errors.Join(copyErr, out.Close())
	}()
	if err := m.absorb(ctx); err != nil {
		out.Close()
		<-copied
		return err
	}
	<-copied
	if copyErr != nil {
		return fmt.Errorf("hand over the machine's state: %w", copyErr)
	}
	// A machine that was paused when it was kept is so again.
	return m.Resume(ctx)
}

// absorb moves a state in.
func (m *machine) absorb(ctx context.Context) error {
	m.migration.set("")
	if err := m.execute(ctx, "migrate-incoming", map[string]any{"uri": "fd:" + stateName}, nil); err != nil {
		return err
	}
	return m.moved(ctx)
}
