package qemu

import (
	"errors"
	"fmt"
	"strings"

	"github.com/unifaas/unifaas/internal/vmm"
)

const (
	mebibyte = 1 << 20
	maxID    = 40
)

// check tells what of a configuration can't be, before anything is made.
func (m *Monitor) check(c *vmm.Config) error {
	if err := checkPlain(c); err != nil {
		return err
	}
	if err := m.checkBoot(c); err != nil {
		return err
	}
	for _, nic := range c.NICs {
		if nic.Bandwidth != 0 {
			return fmt.Errorf("interface %q: monitor %q cannot bound its bandwidth; bound the tap", nic.Tap, m.Name())
		}
		if len(nic.MAC) != 6 {
			return fmt.Errorf("interface %q: address %q is not one of Ethernet", nic.Tap, nic.MAC)
		}
	}
	return nil
}

func checkPlain(c *vmm.Config) error {
	valid := len(c.ID) > 0 && len(c.ID) <= maxID && strings.Trim(c.ID, "abcdefghijklmnopqrstuvwxyz0123456789-") == ""
	switch {
	case !valid:
		return fmt.Errorf("machine id %q: want 1 to %d of a-z, 0-9 and hyphens", c.ID, maxID)
	case c.Memory < mebibyte || c.Memory%mebibyte != 0:
		return fmt.Errorf("memory of %d bytes: want a multiple of 1 MiB", c.Memory)
	case c.CPUs < 1:
		return fmt.Errorf("%d cpus: want at least 1", c.CPUs)
	case c.Vsock != 0:
		return errors.New("QEMU's vsock is the kernel's, by which a guest reaches whatever on the host listens: it is not used")
	case c.Console == nil || c.Spawn == nil:
		return errors.New("a machine needs a console and someone to start its monitor")
	}
	return nil
}

func (m *Monitor) checkBoot(c *vmm.Config) error {
	switch c.Boot {
	case vmm.BootLinux, vmm.BootPVH:
		if c.Kernel == "" {
			return fmt.Errorf("boot %q needs a kernel", c.Boot)
		}
	case vmm.BootDisk:
		if m.machine == Microvm {
			return fmt.Errorf("monitor %q cannot boot from a disk, it has no BIOS for that; use %q", m.Name(), New(Q35, Options{}).Name())
		}
		if len(c.Disks) == 0 || c.Kernel != "" || c.Initrd != "" || c.Cmdline != "" {
			return errors.New("to boot from a disk takes a disk, and no kernel, initrd or command line")
		}
	default:
		return fmt.Errorf("monitor %q knows no boot %q", m.Name(), c.Boot)
	}
	return nil
}
