// Package guest is the contract between the driver of virtual machines and the
// guest systems that can run in them. A guest system knows how a kernel, an
// initial file system, disks and a command line are made of a function; which
// monitor then runs the machine, how its network comes about and what becomes
// of it are the driver's business. Guest systems live in folders below this
// one.
package guest

import (
	"context"
	"io"
	"net"
	"net/netip"
	"time"

	"github.com/unifaas/unifaas/internal/faas"
	"github.com/unifaas/unifaas/internal/vmm"
)

// A System makes what virtual machines boot. Its methods may be called
// concurrently.
type System interface {
	// Name is the value of a function's sandbox key, for instance "linux".
	Name() string

	// Probe tells whether there is what the system needs beside a monitor: a
	// kernel. It is fast and changes nothing.
	Probe(ctx context.Context) Capabilities

	// Prepare makes what all instances of a revision share on a kind of
	// machine. It is idempotent, content-addressed and safe against a crash
	// half-way. An error of kind invalid says that the two don't go together.
	Prepare(ctx context.Context, rev *faas.Revision, on Machine) (*Image, error)

	// Prune removes what none of the images needs and has not been wanted for
	// grace. Machines that run hold theirs open.
	Prune(keep []faas.Image, grace time.Duration) error
}

// A Chooser is a System that does not boot on every machine on which there is a
// monitor.
type Chooser interface {
	// Combinations returns the table of all machines, for [Choose]. What is not
	// in it is refused.
	Combinations() []Combination
}

// A Reporter is a System without an agent whose guests leave behind on their
// first disk how they ended.
type Reporter interface {
	// Exit reads the first disk of a machine that has ended; ok is false where it
	// tells nothing.
	Exit(disk io.ReaderAt) (e Exit, ok bool)
}

// An Exit is how a guest's program ended.
type Exit struct {
	Code        int // exit status; -1 when it had none
	Signal      int // that ended it, 0 when none
	OutOfMemory bool
	Reason      string // for people; "" is what the rest tells
}

// Capabilities is the answer of a probe.
type Capabilities struct {
	Works  bool
	Reason string // why it does not work; "" when it does
	Remedy string // what would change that; "" when nothing is known
	Detail string // a note for people: the kernel's version
}

// A Machine is a kind of machine, as far as guests must know it.
type Machine struct {
	Monitor     string // its name
	Accelerator vmm.Accelerator
	Boots       []vmm.Boot
	ELFOnly     bool // of kernels by BootLinux
	PCI         bool // devices are on a PCI bus, else they are virtio-mmio
	// PowersOff says that the guest can turn the machine off; else it must
	// restart it, which ends the monitor.
	PowersOff bool
	// Cmdline is what a Linux kernel must be told to boot under the
	// accelerator; "" is nothing.
	Cmdline string
	// Vsock says that there is a vsock device and no network. Guests of a system
	// that takes connections by it have an agent.
	Vsock bool
}

// On returns the kind of machine that a monitor makes, by its name and by what
// its probe said.
func On(monitor string, caps vmm.Capabilities) Machine {
	return Machine{
		Monitor: monitor, Accelerator: caps.Accelerator, Boots: caps.Boots,
		ELFOnly: caps.ELFOnly, PCI: caps.PCI, PowersOff: caps.PowersOff, Cmdline: caps.Cmdline,
	}
}

// An Image is what a machine boots.
type Image struct {
	Boot   vmm.Boot
	Kernel string // file; "" for BootDisk
	Initrd string // file; "" is none
	Disks  []Disk
	// Memory is the least that the guest needs, bytes.
	Memory int64
	// Agent says that the guest reports to the control port of its gateway, or of
	// its host by vsock (guest/linux/wire); else nothing is heard of it but a
	// callback.
	Agent bool
	// NoEntropy says that the machine must not have an entropy device.
	NoEntropy bool
	// Options are for the monitor (vmm.Config).
	Options map[string]any
	// Cmdline returns the kernel's command line for one instance.
	Cmdline func(Instance) string
	// Made are the files that were made for it, which Prune would remove once
	// nobody has wanted them for long.
	Made []string
}

// A Disk is a block device of a machine.
type Disk struct {
	Path string // of a raw image
	// Private says that the guest writes to it: each instance needs a copy.
	Private bool
	// Patch, unless it is nil, writes into an instance's copy of a private disk
	// what no command line can tell it. It is called before the machine starts,
	// concurrently for several, and takes no more than milliseconds.
	Patch func(copy io.WriterAt, i Instance) error
}

// Netmask returns the mask of an IPv4 network in four decimal numbers.
func Netmask(p netip.Prefix) string { return net.IP(net.CIDRMask(p.Bits(), 32)).String() }

// An Instance is what differs between the machines of one image.
type Instance struct {
	ID         string
	Guest      netip.Addr
	Gateway    netip.Prefix
	GuestMAC   net.HardwareAddr
	GatewayMAC net.HardwareAddr
	Control    uint16 // port of the gateway, or the host's by vsock, for an Agent
	Callback   string // URL that an instance calls when it is ready
}
