package osv

import (
	"context"
	"fmt"
	"net/netip"
	"path/filepath"

	"github.com/unifaas/unifaas/internal/faas"
	"github.com/unifaas/unifaas/internal/guest"
	"github.com/unifaas/unifaas/internal/guest/assets"
	"github.com/unifaas/unifaas/internal/guest/rootfs"
)

// Name is the value of a function's sandbox key.
const Name = "osv"

const (
	// least is the memory that OSv and a small function need, bytes.
	least = 32 << 20
	// longestLine is the longest command line that QEMU hands to a kernel by
	// PVH: it has room for 4096 bytes with the zero at the end (QEMU,
	// pc-bios/optionrom/pvh_main.c). Firecracker's is 2048.
	longestLine            = 4095
	longestFirecrackerLine = 2047
)

// A System makes what OSv guests boot.
type System struct {
	images, kernels string // folders
	assets          *assets.Finder
}

var (
	_ guest.System  = (*System)(nil)
	_ guest.Chooser = (*System)(nil)
)

// NewSystem returns the system that keeps its images below stateDir and takes
// its kernel from a finder of [Assets]. It reads and changes nothing.
func NewSystem(stateDir string, finder *assets.Finder) *System {
	machines := filepath.Join(stateDir, "machines")
	return &System{images: filepath.Join(machines, Name+"-images"), kernels: filepath.Join(machines, Name+"-kernels"), assets: finder}
}

// Name returns "osv".
func (s *System) Name() string { return Name }

// loader returns the kernel that guests boot from now on.
func (s *System) loader() (*Loader, error) {
	set, err := s.assets.Find()
	if err != nil {
		return nil, err
	}
	return ReadLoader(set)
}

// Probe looks for the kernel.
func (s *System) Probe(context.Context) guest.Capabilities { return s.assets.Probe() }

// Prepare makes the disk of a revision.
func (s *System) Prepare(ctx context.Context, rev *faas.Revision, on guest.Machine) (*guest.Image, error) {
	ref := rev.Function.Ref
	boot, err := s.choose(on)
	if err != nil {
		return nil, faas.Errorf(faas.KindInvalid, "function %q: %w", ref, err)
	}
	l, err := s.loader()
	if err != nil {
		return nil, faas.Errorf(faas.KindUnavailable, "prepare function %q: kernel of OSv: %w (%s)", ref, err, s.assets.Kind().Remedy)
	}
	command, prog, err := planOf(rev, l)
	if err != nil {
		return nil, err
	}
	command.NoPCI = !on.PCI
	if err := checkLength(command, on.Monitor); err != nil {
		return nil, faas.Errorf(faas.KindInvalid, "function %q: %w", ref, err)
	}
	// Its driver of virtio's entropy device has no interrupt but PCI's, and
	// aborts where the device is in memory.
	image := &guest.Image{Boot: boot, Memory: least, NoEntropy: !on.PCI, Cmdline: func(i guest.Instance) string {
		mine := *command
		mine.Address, mine.Gateway = i.Guest, i.Gateway
		return mine.Line()
	}}
	if vm := rev.Function.VM; vm != nil {
		image.Options = vm.Hypervisor
	}
	disk, err := s.makeDisk(ctx, rev.Image, prog, l)
	if err != nil {
		return nil, fmt.Errorf("make image of function %q: %w", ref, err)
	}
	image.Disks = []guest.Disk{{Path: disk}}
	if image.Kernel, err = s.keepLoader(l); err != nil {
		return nil, fmt.Errorf("make image of function %q: %w", ref, err)
	}
	image.Made = []string{disk, image.Kernel}
	return image, nil
}

// planOf returns what a revision's guests run, but for their network, once it
// is clear that they can.
func planOf(rev *faas.Revision, l *Loader) (*Command, *program, error) {
	ref := rev.Function.Ref
	if rev.Image.Rootfs == "" {
		return nil, nil, faas.Errorf(faas.KindInvalid, "function %q: its image has no root file system for a guest", ref)
	}
	argv, err := rev.Argv()
	if err != nil {
		return nil, nil, err
	}
	c := &Command{Env: rev.Environ(), Dir: rev.Image.Config.WorkDir}
	files, err := rootfs.Open(rev.Image.Rootfs)
	if err != nil {
		return nil, nil, fmt.Errorf("prepare function %q: %w", ref, err)
	}
	defer func() { _ = files.Close() }()
	in := root{files}
	var prog *program
	// OSv opens the file that argv[0] names.
	p, err := in.Program(argv[0], c.Dir, c.Env)
	if err == nil {
		prog, err = in.check(p, l, c.Env)
	}
	if err != nil {
		return nil, nil, faas.Errorf(faas.KindInvalid, "function %q: %w", ref, err)
	}
	c.Argv = prog.argv(argv[1:])
	return c, prog, nil
}

// checkLength refuses what a guest would not be told in full.
func checkLength(c *Command, monitor string) error {
	longest := *c
	longest.Gateway = netip.MustParsePrefix("255.255.255.255/32")
	longest.Address = longest.Gateway.Addr()
	limit := longestLine
	if monitor == "firecracker" {
		limit = longestFirecrackerLine
	}
	if n := len(longest.Line()); n > limit {
		return fmt.Errorf("its command, arguments and environment make a command line of %d bytes, and %s hands %d to OSv; put what is long into a file", n, monitor, limit)
	}
	return nil
}
