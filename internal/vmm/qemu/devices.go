package qemu

import (
	"fmt"
	"os"
	"strconv"

	"github.com/unifaas/unifaas/internal/vmm"
)

// device is the name of a virtio device on the machine's bus. The PC's are of
// virtio's version 1 only.
func (t Type) device(kind string) string {
	if t == Microvm {
		return kind + "-device"
	}
	return kind + "-pci-non-transitional"
}

// devices adds what the guest is connected to, in the order in which it finds
// it: interfaces after disks, as a snapshot has them.
func (l *commandLine) devices(t Type, c *vmm.Config) {
	for i, disk := range c.Disks {
		l.disk(t, i, disk, c.Boot == vmm.BootDisk)
	}
	for i, nic := range c.NICs {
		l.nic(t, i, nic)
	}
	if !c.NoEntropy {
		l.addJSON("-object", map[string]any{"qom-type": "rng-random", "id": "entropy", "filename": "/dev/urandom"})
		l.addJSON("-device", map[string]any{"driver": t.device("virtio-rng"), "id": "rng", "rng": "entropy"})
	}
}

// disk adds a raw image: the file, its format, and its limits where it has any.
func (l *commandLine) disk(t Type, i int, d vmm.Disk, boot bool) {
	number := strconv.Itoa(i)
	node := "disk" + number
	access := os.O_RDWR
	if d.ReadOnly {
		access = os.O_RDONLY
	}
	// A set of descriptors is how QEMU takes an opened disk.
	l.add("-add-fd", fmt.Sprintf("set=%d,fd=%d", i, l.open(d.Path, access)))
	file := map[string]any{"driver": "file", "filename": "/dev/fdset/" + number, "aio": "threads"}
	if d.ReadOnly {
		// Many machines have it. QEMU would lock it nevertheless, and a lock
		// takes away someone else's write.
		file["locking"] = "off"
	}
	raw := map[string]any{
		"driver": "raw", "node-name": node, "file": file,
		"read-only": d.ReadOnly, "auto-read-only": false,
	}
	if !d.ReadOnly {
		raw["discard"] = "unmap"
	}
	if limits := limitsOf(d); limits != nil {
		group := "limits" + number
		l.addJSON("-object", map[string]any{"qom-type": "throttle-group", "id": group, "limits": limits})
		delete(raw, "node-name")
		raw = map[string]any{
			"driver": "throttle", "node-name": node, "throttle-group": group, "file": raw,
			"read-only": d.ReadOnly, "auto-read-only": false,
		}
	}
	l.addJSON("-blockdev", raw)
	device := map[string]any{"driver": t.device("virtio-blk"), "id": "block" + number, "drive": node}
	if boot && i == 0 {
		device["bootindex"] = 0
	}
	l.addJSON("-device", device)
}

func limitsOf(d vmm.Disk) map[string]int64 {
	limits := map[string]int64{}
	if d.Bandwidth > 0 {
		limits["bps-total"] = d.Bandwidth
	}
	if d.Operations > 0 {
		limits["iops-total"] = d.Operations
	}
	if len(limits) == 0 {
		return nil
	}
	return limits
}

// nic adds an interface on a tap. The device /dev/net/tun is for root alone on
// some hosts; there the caller has opened the tap.
func (l *commandLine) nic(t Type, i int, n vmm.NIC) {
	number := strconv.Itoa(i)
	tap := map[string]any{"type": "tap", "id": "net" + number}
	if n.Open != nil {
		tap["fd"] = strconv.Itoa(l.take(n.Open))
	} else {
		tap["ifname"], tap["script"], tap["downscript"] = n.Tap, "no", "no"
	}
	l.addJSON("-netdev", tap)
	device := map[string]any{
		"driver": t.device("virtio-net"), "id": "nic" + number, "netdev": "net" + number, "mac": n.MAC.String(),
	}
	if t == Q35 {
		device["romfile"] = "" // that would boot from the network
	}
	l.addJSON("-device", device)
}
