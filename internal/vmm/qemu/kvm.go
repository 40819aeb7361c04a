package qemu

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/unifaas/unifaas/internal/vmm"
)

const kvmDevice = "/dev/kvm"

// decide makes a choice of what is known of KVM: unusable says why it does not
// work for the platform. QEMU runs under another user, who must be able to open
// the device too.
func decide(unusable error) choice {
	if unusable != nil {
		return choice{accelerator: vmm.TCG, note: unusable.Error()}
	}
	var stat unix.Stat_t
	if err := unix.Stat(kvmDevice, &stat); err != nil {
		return choice{accelerator: vmm.TCG, note: (&os.PathError{Op: "stat", Path: kvmDevice, Err: err}).Error()}
	}
	const groupMay, othersMay = 0o060, 0o006
	switch {
	case os.Geteuid() != 0, stat.Mode&othersMay == othersMay:
		return choice{accelerator: vmm.KVM}
	case stat.Mode&groupMay == groupMay && stat.Gid != 0:
		return choice{accelerator: vmm.KVM, group: int(stat.Gid)}
	}
	return choice{accelerator: vmm.TCG, note: fmt.Sprintf(
		"KVM works, but only root may open %s and QEMU does not run as root; chgrp kvm %[1]s && chmod g+rw %[1]s", kvmDevice)}
}
