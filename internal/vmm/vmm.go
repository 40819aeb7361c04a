// Package vmm is the contract between whoever wants a virtual machine and the
// monitors that can run one. A monitor knows how a machine is started, paused,
// kept and brought back; what runs inside is a guest system's business (package
// guest and below), and where a machine's files, network and limits come from
// is its user's. Monitors live in folders below this one, never import each
// other, and are listed in all/all.go.
package vmm

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"time"

	"github.com/unifaas/unifaas/internal/host/process"
)

// A Monitor runs virtual machines of one kind. Its methods may be called
// concurrently.
type Monitor interface {
	// Name is the value of a function's vmm key, for instance "qemu-microvm".
	Name() string

	// Probe tells whether the monitor can run a machine here and how fast. It
	// leaves nothing behind; ctx bounds it, and running out of time is an answer.
	Probe(ctx context.Context) Capabilities

	// Start makes a machine and runs it. It returns when the guest's first
	// instruction can have been executed. ctx bounds the start, never the
	// machine's life. On error nothing is left: no process, no file of its own.
	Start(ctx context.Context, config Config) (Machine, error)

	// Restore makes a machine of what Snapshot has kept in the folder from, and
	// runs it. config must have the same devices in the same order; its paths,
	// tap and console may be others. Several machines may be restored from one
	// folder, at once and one after the other; it is not changed.
	Restore(ctx context.Context, config Config, from string) (Machine, error)

	// Recover takes hold of a machine that an earlier run of the platform has
	// started in dir, whose monitor is the process id. It returns
	// [process.ErrGone] when that has ended, or id is none, after removing what
	// the monitor kept of the machine outside dir.
	Recover(ctx context.Context, dir string, id process.Identity) (Machine, error)
}

// A Machine is one virtual machine. Its methods may be called concurrently.
type Machine interface {
	// Process is the monitor's.
	Process() process.Identity

	// Pause stops the guest's processors, Resume lets them go on. Both are
	// idempotent.
	Pause(ctx context.Context) error
	Resume(ctx context.Context) error

	// Snapshot keeps the machine's state and memory in the folder to, which
	// must be empty, for [Monitor.Restore]. The machine is paused afterwards.
	// On error nothing is left in the folder.
	Snapshot(ctx context.Context, to string) error

	// Done is closed when the monitor has ended, for whatever reason.
	Done() <-chan struct{}

	// Wait blocks until the monitor has ended and tells how.
	Wait() Exit

	// Kill ends the machine at once and returns when its process is gone.
	// It is idempotent.
	Kill(ctx context.Context) error

	// Close lets go of the machine, which goes on if it still runs.
	io.Closer
}

// A Vsocker is a Machine with a vsock device between this process and the guest
// alone. The kernel's own, vhost_vsock, is none: by that a guest reaches whatever
// on the host listens.
type Vsocker interface {
	// DialVsock connects to a port of the guest's vsock address.
	DialVsock(ctx context.Context, port uint32) (net.Conn, error)

	// ListenVsock takes the guest's connections to a port of its host, in place of
	// an earlier run of the platform that did so. The caller closes it.
	ListenVsock(port uint32) (net.Listener, error)
}

// An Exit tells how a monitor ended.
type Exit struct {
	Code   int  // exit status, -1 when unknown
	Signal int  // that ended it, 0 when none
	Reboot bool // the guest asked for it: it powered off, or panicked and rebooted
	// Reason is one line for people, of the monitor's own words where it has
	// said something.
	Reason string
	At     time.Time
}

// An Accelerator is what executes the guest's instructions.
type Accelerator string

// The accelerators.
const (
	KVM Accelerator = "kvm" // the processor
	TCG Accelerator = "tcg" // QEMU's translator: needs nothing, and is ten times slower
)

// Capabilities is the answer of a probe.
type Capabilities struct {
	Works       bool
	Reason      string // why it does not work; "" when it does
	Remedy      string // what would change that; "" when nothing is known
	Version     string // the monitor's own, for instance "7.2.22"
	Accelerator Accelerator
	// AcceleratorNote says why it is not KVM; "" when it is.
	AcceleratorNote string
	// Vsock says that its machines are each a [Vsocker].
	Vsock bool
	// Boots are the ways in which it can boot a guest here.
	Boots []Boot
	// ELFOnly says that BootLinux takes ELF kernels alone.
	ELFOnly bool
	// PCI says that devices are on a PCI bus; else they are virtio-mmio.
	PCI bool
	// PowersOff says that a guest can turn its machine off; else it restarts
	// it, which ends the monitor.
	PowersOff bool
	// Cmdline is what a Linux kernel must be told to boot under the accelerator,
	// for instance its clock rate; "" is nothing.
	Cmdline string
}

// A Boot is a way to begin a guest's execution.
type Boot string

// The ways to boot.
const (
	// BootLinux is Linux's own protocol: a bzImage, or an ELF kernel that is
	// entered in 64-bit mode with a zero page (Linux, Documentation/arch/x86/boot.rst).
	BootLinux Boot = "linux"
	// BootPVH is Xen's: an ELF kernel with the note XEN_ELFNOTE_PHYS32_ENTRY
	// (Xen, docs/misc/pvh.pandoc). Only some monitors pass a command line by it.
	BootPVH Boot = "pvh"
	// BootDisk begins with the first disk's boot sector, by a BIOS.
	BootDisk Boot = "disk"
)

// A Config describes a machine. It is plain data but for Spawn.
type Config struct {
	// ID names the machine on this host: lower-case letters, digits, hyphens,
	// at most 40.
	ID string
	// Dir is a folder for the machine's own files, made by the caller, who
	// removes it after the machine's end. It outlives the platform.
	Dir string

	// Boot says how; Kernel is a file, unless it is BootDisk. Initrd and
	// Cmdline are for Linux and PVH; "" is none.
	Boot    Boot
	Kernel  string
	Initrd  string
	Cmdline string

	Memory int64 // of the guest, bytes: a multiple of 1 MiB
	CPUs   int   // of the guest, at least 1

	Disks []Disk // in the order in which the guest finds them
	NICs  []NIC
	Vsock uint32 // the guest's context id, 3 or more; 0 is no vsock device
	// NoEntropy leaves out the device that gives the guest the host's entropy,
	// for a guest whose driver of it fails.
	NoEntropy bool

	// Options are the monitor's own, for instance the artefact's "acpi"; a
	// monitor refuses what it does not know.
	Options map[string]any

	// UID and GID are of an ordinary user, of no one else, under whom the
	// monitor is to run where the platform is root.
	UID, GID int

	// Console takes what the guest writes to its serial port, and what the
	// monitor itself prints and does not tell as an error or as the reason of an
	// [Exit]. The caller keeps it open until Start returns, and closes it.
	Console *os.File

	// Spawn starts the monitor's command: in the network namespace in which the
	// NICs' taps are, and in the control group that bounds it. The command's
	// files and attributes are set but for those.
	Spawn func(cmd *exec.Cmd) error
}

// A Disk is a block device of a machine.
type Disk struct {
	Path     string // of a raw image
	ReadOnly bool
	// Bandwidth and Operations bound it, per second; 0 is unbounded.
	Bandwidth  int64 // bytes
	Operations int64
}

// A NIC is a network interface of a machine.
type NIC struct {
	Tap string // name of an interface in the namespace of Spawn, which UID may open
	MAC net.HardwareAddr
	// Open opens the tap (TUNSETIFF with IFF_TAP, IFF_NO_PI, IFF_VNET_HDR), for
	// a monitor that can take over a descriptor, and closes it after Start.
	// Others open Tap themselves; nil has all do so, which fails where their
	// user may not open /dev/net/tun.
	Open func() (*os.File, error)
	// Bandwidth bounds it in each direction, bytes per second; 0 is unbounded.
	Bandwidth int64
}

// An APIError is a request that a monitor has refused.
type APIError struct {
	Monitor string
	Request string // for instance "PUT /drives/root" or "device_add"
	Status  int    // HTTP's, 0 where the protocol has none
	Fault   string // the monitor's words
}

func (e *APIError) Error() string {
	if e.Status != 0 {
		return fmt.Sprintf("%s: %s: status %d: %s", e.Monitor, e.Request, e.Status, e.Fault)
	}
	return fmt.Sprintf("%s: %s: %s", e.Monitor, e.Request, e.Fault)
}
