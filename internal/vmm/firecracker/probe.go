package firecracker

import (
	"context"
	"errors"
	"fmt"

	"github.com/unifaas/unifaas/internal/vmm"
)

// Probe tells whether machines can be run here. See [vmm.Monitor].
func (m *Monitor) Probe(ctx context.Context) vmm.Capabilities {
	c := vmm.Capabilities{Accelerator: vmm.KVM, Vsock: true, Boots: []vmm.Boot{vmm.BootLinux}, ELFOnly: true}
	p, err := m.find()
	if err != nil {
		c.Reason = err.Error()
		c.Remedy = "put Firecracker's release (firecracker and jailer, static programs) into a folder of PATH, or name it by UNIFAAS_FIRECRACKER"
		return c
	}
	v, err := p.ask(ctx)
	if err != nil {
		c.Reason = err.Error()
		if !errors.Is(err, context.DeadlineExceeded) {
			c.Remedy = "name a Firecracker for this processor by UNIFAAS_FIRECRACKER"
		}
		return c
	}
	c.Version = v.text
	if v.has(pvh) {
		c.Boots = append(c.Boots, vmm.BootPVH)
	}
	if !v.has(oldest) {
		c.Reason = fmt.Sprintf("Firecracker %s is too old", v.text)
		c.Remedy = "install Firecracker " + oldest.text + " or newer"
		return c
	}
	if err := m.options.KVM(ctx); err != nil {
		c.Reason = fmt.Sprintf("Firecracker needs KVM: %v", err)
		c.Remedy = "run on a machine with hardware virtualization (in a cloud: nested, or bare metal) and let this user read and write /dev/kvm; the monitors of QEMU work without"
		return c
	}
	if p.jailer != "" && m.options.Homes != "" {
		if err := usable(m.options.Homes); err != nil {
			c.Reason = err.Error()
			c.Remedy = "let machines' homes be on a file system that is mounted without nodev and noexec"
			return c
		}
	}
	c.Works = true
	return c
}

// Jailer returns the jailer with which machines are started, "" for none: then
// they run as their user, with Firecracker's own system call filters alone.
func (m *Monitor) Jailer() string {
	p, _ := m.find()
	return p.jailer
}
