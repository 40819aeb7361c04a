package vm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/unifaas/unifaas/internal/faas"
	"github.com/unifaas/unifaas/internal/guest"
	"github.com/unifaas/unifaas/internal/guest/made"
	"github.com/unifaas/unifaas/internal/host/cgroup"
	"github.com/unifaas/unifaas/internal/host/tapnet"
	"github.com/unifaas/unifaas/internal/sandbox"
	"github.com/unifaas/unifaas/internal/vmm"
)

// A Driver starts functions in virtual machines with one guest system. Its
// methods may be called concurrently.
type Driver struct {
	host     sandbox.Host
	machines *Machines
	system   guest.System
	groups   *cgroup.Parent
	disks    *spareRoom
}

var (
	_ sandbox.Driver  = (*Driver)(nil)
	_ io.Closer       = (*Driver)(nil)
	_ sandbox.Statser = (*instance)(nil)
	_ sandbox.Keeper  = (*artifact)(nil)
)

// New returns a driver. It reads and changes nothing.
func New(machines *Machines, system guest.System) *Driver {
	return &Driver{
		host: machines.host, machines: machines, system: system,
		groups: cgroup.NewParent(parentName(machines.host, system.Name())),
		disks:  newSpareRoom(filepath.Join(machines.host.StateDir, "machines", system.Name())),
	}
}

// Name returns the guest system's.
func (d *Driver) Name() string { return d.system.Name() }

// Close lets go of what was made ahead. Machines go on.
func (d *Driver) Close() error { return errors.Join(d.disks.close(), d.machines.Close()) }

// Prune removes what was made for images that are not of keep and has not been
// wanted for grace.
func (d *Driver) Prune(keep []faas.Image, grace time.Duration) error {
	return errors.Join(d.system.Prune(keep, grace), d.disks.prune(grace))
}

// Probe asks the guest system and each monitor.
func (d *Driver) Probe(ctx context.Context) sandbox.Capabilities {
	if reason, remedy := d.hostLacks(); reason != "" {
		return sandbox.Capabilities{Reason: reason, Remedy: remedy}
	}
	system := d.system.Probe(ctx)
	if !system.Works {
		return sandbox.Capabilities{Reason: system.Reason, Remedy: system.Remedy}
	}
	caps := sandbox.Capabilities{Isolation: sandbox.VirtualMachine, MemoryEstimate: estimate}
	var notes, reasons, remedies []string
	for _, monitor := range d.machines.monitors {
		m := d.machines.capabilities(ctx, monitor)
		if !m.Works {
			reasons = append(reasons, monitor.Name()+": "+m.Reason)
			if m.Remedy != "" {
				remedies = append(remedies, m.Remedy)
			}
			continue
		}
		tested, err := suits(d.system, monitor, m)
		if err != nil {
			reasons = append(reasons, err.Error())
			continue
		}
		caps.Works = true
		caps.Variants = append(caps.Variants, sandbox.Variant{
			Name: d.Name() + "-" + monitor.Name(), Keys: fmt.Sprintf("vm.vmm = %q\n", monitor.Name()), Isolation: sandbox.VirtualMachine,
			Emulated: m.Accelerator == vmm.TCG,
		})
		note := describeMonitor(monitor.Name(), m)
		if !tested {
			note += ", where nobody has tested " + d.Name()
		}
		notes = append(notes, note)
	}
	if !caps.Works {
		return sandbox.Capabilities{Reason: strings.Join(reasons, "; "), Remedy: strings.Join(remedies, "; or ")}
	}
	caps.Detail = strings.Join(append(append([]string{system.Detail}, notes...), reasons...), "; ")
	return caps
}

// describeMonitor says aloud what a monitor's machines run on.
func describeMonitor(name string, m vmm.Capabilities) string {
	text := fmt.Sprintf("%s %s with %s", name, m.Version, m.Accelerator)
	if m.AcceleratorNote != "" {
		text += " (" + m.AcceleratorNote + ")"
	}
	return text
}

// hostLacks tells what stands against any machine here.
func (d *Driver) hostLacks() (reason, remedy string) {
	if os.Geteuid() != 0 {
		return "only root can make the networks of virtual machines", `run as root, or use the sandbox "gvisor" or "container"`
	}
	if err := d.groups.Usable(); err != nil {
		return err.Error(), cgroup.Remedy(err)
	}
	if d.machines.users == nil {
		return "this process may not use the user numbers that machines' monitors get", "run in the machine's own user namespace"
	}
	if err := tapnet.Usable(); err != nil {
		var told *tapnet.Error
		if errors.As(err, &told) {
			remedy = told.Remedy
		}
		return err.Error(), remedy
	}
	return "", ""
}

// estimate is what a machine with a small function takes, bytes.
const estimate = 160 << 20

// An artifact is what all instances of a revision share.
type artifact struct {
	driver  *Driver
	rev     *faas.Revision
	monitor vmm.Monitor
	caps    vmm.Capabilities
	image   *guest.Image
	memory  int64 // of the guest, bytes
	cpus    int   // of the guest
	vsock   bool  // the way in
}

// Limits of a function that names none.
const (
	defaultMemory = 128 << 20
	mib           = 1 << 20
)

// prepareTimeout bounds the trial of a monitor.
const prepareTimeout = 30 * time.Second

// Prepare makes rev's image for the monitor that it asks for.
func (d *Driver) Prepare(ctx context.Context, rev *faas.Revision) (sandbox.Artifact, error) {
	ref := rev.Function.Ref
	if reason, remedy := d.hostLacks(); reason != "" {
		return nil, faas.Errorf(faas.KindUnavailable, "prepare function %q: %s", ref, withRemedy(reason, remedy))
	}
	probe, cancel := context.WithTimeout(ctx, prepareTimeout)
	defer cancel()
	name := ""
	if rev.Function.VM != nil {
		name = rev.Function.VM.VMM
	}
	monitor, caps, err := d.machines.choose(probe, name, d.system)
	if err != nil {
		return nil, fmt.Errorf("prepare function %q: %w", ref, err)
	}
	on := guest.On(monitor.Name(), caps)
	if on.Vsock = rev.Function.VM != nil && rev.Function.VM.Vsock; on.Vsock && !caps.Vsock {
		return nil, faas.Errorf(faas.KindInvalid, "function %q: the monitor %s has no vsock; use firecracker, or remove vsock", ref, monitor.Name())
	}
	image, err := d.system.Prepare(ctx, rev, on)
	if err != nil {
		return nil, err
	}
	a := &artifact{driver: d, rev: rev, monitor: monitor, caps: caps, image: image, memory: rev.Function.Limits.Memory, cpus: 1, vsock: on.Vsock}
	if a.memory == 0 {
		a.memory = defaultMemory
	}
	if a.memory -= a.memory % mib; a.memory < image.Memory {
		return nil, faas.Errorf(faas.KindInvalid, "function %q: memory = %d is less than its guest needs; write %d or more",
			ref, a.memory/mib, (image.Memory+mib-1)/mib)
	}
	a.cpus = max(1, int(math.Ceil(rev.Function.Limits.CPUs)))
	d.copyAhead(image)
	_, err = d.machines.pool()
	return a, err
}

// copyAhead has copies ready of the disks that guests write to.
func (d *Driver) copyAhead(image *guest.Image) {
	for _, disk := range image.Disks {
		if disk.Private {
			d.disks.want(disk.Path)
		}
	}
}

// Keep implements [sandbox.Keeper].
func (a *artifact) Keep() error {
	a.driver.copyAhead(a.image)
	return made.Want(a.image.Made...)
}

var errNotOurs = errors.New("artifact was not made by a driver of virtual machines")
