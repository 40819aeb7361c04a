package osv

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"

	"github.com/unifaas/unifaas/internal/faas"
	"github.com/unifaas/unifaas/internal/guest"
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

// Remedy says how a kernel is had.
const Remedy = "build OSv's loader-stripped.elf and name it by osv in [assets] of unifaas.toml, or by UNIFAAS_OSV_LOADER"

// A System makes what OSv guests boot, with one kernel.
type System struct {
	images string // folder
	loader loaderFile
}

var _ guest.System = (*System)(nil)

// NewSystem returns the system that keeps its images below stateDir and boots
// the kernel in the file loader; "" is none. It reads and changes nothing.
func NewSystem(stateDir, loader string) *System {
	return &System{images: filepath.Join(stateDir, "machines", Name+"-images"), loader: loaderFile{path: loader}}
}

// Name returns "osv".
func (s *System) Name() string { return Name }

// Probe looks for the kernel.
func (s *System) Probe(context.Context) guest.Capabilities {
	l, err := s.loader.get()
	switch {
	case errors.Is(err, ErrNone):
		return guest.Capabilities{Reason: "there is no kernel for OSv guests", Remedy: Remedy}
	case err != nil:
		return guest.Capabilities{Reason: err.Error(), Remedy: Remedy}
	}
	detail := "OSv " + l.Version
	if !l.Static {
		detail += ", which runs no statically linked programs"
	}
	return guest.Capabilities{Works: true, Detail: strings.TrimSpace(detail)}
}

// Prepare makes the disk of a revision.
func (s *System) Prepare(ctx context.Context, rev *faas.Revision, on guest.Machine) (*guest.Image, error) {
	ref := rev.Function.Ref
	l, err := s.loader.get()
	if err != nil {
		return nil, faas.Errorf(faas.KindUnavailable, "prepare function %q: %w; %s", ref, err, Remedy)
	}
	boot, err := Supports(on)
	if err != nil {
		return nil, faas.Errorf(faas.KindInvalid, "function %q: %w", ref, err)
	}
	command, prog, err := planOf(rev, l)
	if err != nil {
		return nil, err
	}
	command.NoPCI = !on.PCI
	if err := checkLength(command, on.Monitor); err != nil {
		return nil, faas.Errorf(faas.KindInvalid, "function %q: %w", ref, err)
	}
	image := &guest.Image{Boot: boot, Memory: least, Cmdline: func(i guest.Instance) string {
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
	in, err := openRoot(rev.Image.Rootfs)
	if err != nil {
		return nil, nil, fmt.Errorf("prepare function %q: %w", ref, err)
	}
	defer func() { _ = in.Close() }()
	var prog *program
	// OSv opens the file that argv[0] names.
	p, err := in.find(argv[0], c.Dir, searchPath(c.Env))
	if err == nil {
		prog, err = in.check(p, l)
	}
	if err != nil {
		return nil, nil, faas.Errorf(faas.KindInvalid, "function %q: %w", ref, err)
	}
	c.Argv = prog.argv(argv[1:])
	return c, prog, nil
}

// searchPath returns PATH of an environment.
func searchPath(env []string) string {
	for _, kv := range env {
		if value, ok := strings.CutPrefix(kv, "PATH="); ok {
			return value
		}
	}
	return ""
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
