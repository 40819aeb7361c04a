package firecracker

import (
	"context"
	"errors"
	"io/fs"

	"github.com/unifaas/unifaas/internal/host/process"
	"github.com/unifaas/unifaas/internal/vmm"
)

// Recover takes hold of a machine again, or undoes what is left of one that
// has ended. See [vmm.Monitor]. An id of zero is a process that was never
// known: a start of which nothing but the home can be left.
func (m *Monitor) Recover(_ context.Context, dir string, id process.Identity) (vmm.Machine, error) {
	h, err := readHome(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, process.ErrGone // it is removed last
	}
	if err != nil {
		return nil, err
	}
	handle, err := hold(id)
	if errors.Is(err, process.ErrGone) {
		return nil, errors.Join(err, h.remove(dir))
	}
	if err != nil {
		return nil, err
	}
	j, err := openLog(h)
	if err != nil {
		handle.Close()
		return nil, err
	}
	go j.read()
	mach := newMachine(dir, h, handle, j, func() {})
	go mach.watch()
	return mach, nil
}

func hold(id process.Identity) (*process.Handle, error) {
	if id.Pid <= 0 {
		return nil, process.ErrGone
	}
	return process.HoldAgain(id)
}
