package firecracker

import (
	"context"
	"os"

	"github.com/unifaas/unifaas/internal/vmm"
)

// Name is the monitor's.
const Name = "firecracker"

// Options configure a Monitor. The zero value is good.
type Options struct {
	// Path is the program; the jailer is looked for beside it. "" looks at the
	// environment's UNIFAAS_FIRECRACKER, then its FIRECRACKER_EXE (the
	// artefact's), then for "firecracker" on PATH.
	Path string

	// Homes is a folder in which the jailed machines' homes are made. Its file
	// system must allow programs and devices, which that of /run often does
	// not, and kernels, disks and snapshots should be on the same: they are
	// linked, else copied. "" makes each home in its machine's own folder.
	Homes string

	// KVM tells why KVM can't run a guest here, nil when it can. Nil looks only
	// whether /dev/kvm can be opened.
	KVM func(ctx context.Context) error
}

// A Monitor runs machines with Firecracker. It implements [vmm.Monitor].
type Monitor struct{ options Options }

var _ vmm.Monitor = (*Monitor)(nil)

// New returns a Monitor.
func New(o Options) *Monitor {
	if o.KVM == nil {
		o.KVM = openKVM
	}
	return &Monitor{o}
}

// Name is "firecracker".
func (m *Monitor) Name() string { return Name }

func openKVM(context.Context) error {
	f, err := os.OpenFile("/dev/kvm", os.O_RDWR, 0)
	if err != nil {
		return err
	}
	return f.Close()
}
