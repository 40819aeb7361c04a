// Package all lists the machine monitors that the platform is built with: one
// line for each, the best first. It is the only place that knows them all.
package all

import (
	"context"
	"path/filepath"
	"sync"

	"github.com/unifaas/unifaas/internal/host/kvm"
	"github.com/unifaas/unifaas/internal/vmm"
	"github.com/unifaas/unifaas/internal/vmm/firecracker"
	"github.com/unifaas/unifaas/internal/vmm/qemu"
)

// Monitors returns all monitors. What can't run here is among them; its Probe
// says so. stateDir is where they may keep what must not be on a file system
// without devices.
func Monitors(stateDir string) []vmm.Monitor {
	ask := kvmOnce()
	return []vmm.Monitor{
		firecracker.New(firecracker.Options{KVM: ask, Homes: filepath.Join(stateDir, "machines", "homes")}),
		qemu.New(qemu.Microvm, qemu.Options{KVM: ask}),
		qemu.New(qemu.Q35, qemu.Options{KVM: ask}),
	}
}

// kvmOnce returns a function that tries KVM by running a guest, for all
// monitors together. An answer that only says that there was no time for one is
// not kept.
func kvmOnce() func(context.Context) error {
	var mu sync.Mutex
	known := false
	var answer error
	return func(ctx context.Context) error {
		mu.Lock()
		defer mu.Unlock()
		if !known {
			answer = kvm.Usable(ctx)
			known = ctx.Err() == nil
		}
		return answer
	}
}
