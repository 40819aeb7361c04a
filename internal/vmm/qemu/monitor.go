package qemu

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"sync"

	"github.com/unifaas/unifaas/internal/vmm"
	"github.com/unifaas/unifaas/internal/vmm/qemu/qmp"
)

// A Type is a machine that QEMU can be.
type Type string

// The types.
const (
	Microvm Type = "microvm"
	Q35     Type = "q35"
)

// Program is how QEMU is called when Options name no path.
const Program = "qemu-system-x86_64"

// remedy is for a machine where QEMU is missing or too old.
const remedy = "apt-get install qemu-system-x86"

// Options of a monitor.
type Options struct {
	// Path of QEMU; "" looks for [Program] in PATH.
	Path string
	// KVM tells why KVM cannot run a guest here, nil when it can. It is asked
	// once. A nil function means that KVM is not wanted.
	KVM func(ctx context.Context) error
}

// A Monitor runs machines of one [Type].
type Monitor struct {
	machine Type
	options Options

	mu     sync.Mutex
	chosen *choice
	found  *qmp.Version
}

var _ vmm.Monitor = (*Monitor)(nil)

// A choice is what executes guests here, and why it is not KVM.
type choice struct {
	accelerator vmm.Accelerator
	note        string
	group       int // that opens /dev/kvm, 0 where none is needed
}

// New returns the monitor of a machine type.
func New(machine Type, options Options) *Monitor {
	return &Monitor{machine: machine, options: options}
}

// Name implements [vmm.Monitor].
func (m *Monitor) Name() string {
	if m.machine == Microvm {
		return "qemu-microvm"
	}
	return "qemu"
}

// path returns where QEMU is.
func (m *Monitor) path() (string, error) {
	name := m.options.Path
	if name == "" {
		name = Program
	}
	path, err := exec.LookPath(name)
	if err != nil {
		return "", fmt.Errorf("find QEMU: %w", err)
	}
	return path, nil
}

// choose finds out, once, what executes guests. An answer that only says that
// there was no time for one is not kept.
func (m *Monitor) choose(ctx context.Context) (choice, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.chosen != nil {
		return *m.chosen, nil
	}
	c := choice{accelerator: vmm.TCG, note: "KVM is not wanted"}
	if m.options.KVM != nil {
		err := m.options.KVM(ctx)
		if ctx.Err() != nil {
			return c, fmt.Errorf("find out whether KVM works: %w", errors.Join(ctx.Err(), err))
		}
		c = decide(err)
	}
	m.chosen = &c
	return c, nil
}
