package container

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/unifaas/unifaas/internal/faas"
	"github.com/unifaas/unifaas/internal/host/cgroup"
	"github.com/unifaas/unifaas/internal/host/ids"
	"github.com/unifaas/unifaas/internal/host/seccomp"
	"github.com/unifaas/unifaas/internal/oci"
	"github.com/unifaas/unifaas/internal/sandbox"
	"github.com/unifaas/unifaas/internal/sandbox/container/setup"
)

// Limits of a function that names none.
const (
	defaultMemory = 128 << 20
	defaultDisk   = 64 << 20
	defaultPids   = 128
	maxShm        = 64 << 20 // Docker's size of /dev/shm
)

// ownProcesses is added to a function's limit of processes for the first
// process of its instance.
const ownProcesses = 1

func withDefaults(l faas.Limits) faas.Limits {
	if l.Memory == 0 {
		l.Memory = defaultMemory
	}
	if l.Disk == 0 {
		l.Disk = defaultDisk
	}
	if l.Pids == 0 {
		l.Pids = defaultPids
	}
	return l
}

// An artifact is what all instances of a revision share.
type artifact struct {
	rev      *faas.Revision
	limits   faas.Limits
	uid, gid uint32   // inside
	script   *os.File // in memory, sealed
	size     uint64   // of the script in bytes
	start    uint64   // where in the script its operations begin
	steps    []string // what they are for
}

// Prepare checks rev and writes its plan. There is nothing on disk to prepare:
// the root file system is used as it is.
func (d *Driver) Prepare(_ context.Context, rev *faas.Revision) (sandbox.Artifact, error) {
	limits := withDefaults(rev.Function.Limits)
	if err := checkRootfs(rev); err != nil {
		return nil, faas.Errorf(faas.KindInvalid, "function %q: %w", rev.Function.Ref, err)
	}
	spec, err := oci.Spec(rev, oci.Options{})
	if err != nil {
		return nil, err
	}
	a := &artifact{rev: rev, limits: limits, uid: spec.Process.User.UID, gid: spec.Process.User.GID}
	if max(a.uid, a.gid) >= ids.RangeSize {
		return nil, faas.Errorf(faas.KindInvalid, "function %q: its image runs as user %d, group %d; a container has 0 to %d", rev.Function.Ref, a.uid, a.gid, ids.RangeSize-1)
	}
	p, err := d.newPlan(rev, limits, spec.Process)
	if err != nil {
		return nil, fmt.Errorf("prepare function %q: %w", rev.Function.Ref, err)
	}
	program, err := setup.Compile(p)
	if err != nil {
		return nil, faas.Errorf(faas.KindInvalid, "function %q: %w", rev.Function.Ref, err)
	}
	if a.script, err = sealed("script", program.Memory); err != nil {
		return nil, fmt.Errorf("prepare function %q: %w", rev.Function.Ref, err)
	}
	a.size, a.start, a.steps = uint64(len(program.Memory)), program.Start, program.Steps
	return a, nil
}

// checkRootfs tells what a start would stumble over. Nothing rests on it.
func checkRootfs(rev *faas.Revision) error {
	if rev.Image.Rootfs == "" {
		return errors.New("its image has no root file system for a container")
	}
	for _, dir := range oci.MountPoints() {
		info, err := os.Lstat(filepath.Join(rev.Image.Rootfs, dir))
		if err != nil {
			return fmt.Errorf("its image has no folder %s to mount on: %w", dir, err)
		}
		if !info.IsDir() {
			return fmt.Errorf("its image's %s must be a folder, to mount on", dir)
		}
	}
	return nil
}

func (d *Driver) newPlan(rev *faas.Revision, limits faas.Limits, process *specs.Process) (*setup.Plan, error) {
	filter, err := d.filter()
	if err != nil {
		return nil, err
	}
	lastCapability, err := lastCapability()
	if err != nil {
		return nil, err
	}
	p := &setup.Plan{
		Argv: process.Args, Env: process.Env, Dir: process.Cwd,
		UID: process.User.UID, GID: process.User.GID, Root: d.ids != nil,
		Hostname: hostname(rev.Function.Ref.Name),
		Tmp:      limits.Disk, Shm: min(limits.Disk, maxShm),
		Masked: oci.MaskedPaths(), ReadOnly: oci.ReadonlyPaths(),
		Filter: filter, AppArmor: oci.AppArmorProfile(), LastCapability: lastCapability, Cgroup: d.showsCgroup(), Serve: d.ids == nil,
	}
	if d.ids == nil {
		p.Rootfs = rev.Image.Rootfs
	}
	p.Limits, err = d.resourceLimits(process.Rlimits)
	return p, err
}

// lastCapability returns the highest number of a capability.
func lastCapability() (int, error) {
	text, err := os.ReadFile("/proc/sys/kernel/cap_last_cap")
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(text)))
}

// hostname is a function's name as far as the kernel takes it.
func hostname(name string) string { return name[:min(len(name), 64)] }

// showsCgroup tells whether instances see their own control group, by which
// language runtimes learn their limits. It takes one mount in version 2 and
// one for each controller in version 1, which is going out of use.
func (d *Driver) showsCgroup() bool {
	if use, err := d.groups.Use(); err != nil || !use {
		return false
	}
	layout, err := cgroup.Discover()
	return err == nil && len(layout.V1) == 0 && layout.V2 != ""
}

var resources = map[string]uint32{
	"RLIMIT_NOFILE": unix.RLIMIT_NOFILE, "RLIMIT_CORE": unix.RLIMIT_CORE, "RLIMIT_NPROC": unix.RLIMIT_NPROC,
}

// resourceLimits returns limits as far as the launcher's own allow.
func (d *Driver) resourceLimits(limits []specs.POSIXRlimit) ([]setup.Limit, error) {
	program, err := d.program()
	if err != nil {
		return nil, err
	}
	var all []setup.Limit
	for _, l := range limits {
		r, known := resources[l.Type]
		if !known {
			continue
		}
		if l.Type == "RLIMIT_NPROC" {
			l.Soft, l.Hard = l.Soft+ownProcesses, l.Hard+ownProcesses
		}
		ours, err := d.launcher.limit(program, r)
		if err != nil {
			return nil, fmt.Errorf("read limit %s: %w", l.Type, err)
		}
		hard := min(l.Hard, ours.Max)
		all = append(all, setup.Limit{Resource: r, Soft: min(l.Soft, hard), Hard: hard})
	}
	return all, nil
}

// newFilter compiles Docker's profile into the plan's form.
func newFilter() ([]byte, error) {
	profile, err := oci.Seccomp()
	if err != nil {
		return nil, err
	}
	program, err := seccomp.Compile(profile)
	if err != nil {
		return nil, err
	}
	var b []byte
	for _, i := range program {
		b = binary.NativeEndian.AppendUint16(b, i.Code)
		b = append(b, i.Jt, i.Jf)
		b = binary.NativeEndian.AppendUint32(b, i.K)
	}
	return b, nil
}

// sealed returns a file in memory that holds text and can't be changed.
func sealed(name string, text []byte) (*os.File, error) {
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return nil, fmt.Errorf("make file for %s: %w", name, err)
	}
	f := os.NewFile(uintptr(fd), name)
	_, err = f.Write(text)
	if err == nil {
		_, err = unix.FcntlInt(f.Fd(), unix.F_ADD_SEALS, unix.F_SEAL_SHRINK|unix.F_SEAL_GROW|unix.F_SEAL_WRITE|unix.F_SEAL_SEAL)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("write file for %s: %w", name, err), f.Close())
	}
	return f, nil
}
