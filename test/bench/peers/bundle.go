package peers

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"golang.org/x/sys/unix"

	"github.com/unifaas/unifaas/internal/faas"
	"github.com/unifaas/unifaas/internal/oci"
)

// The platform adds these to a function's limits for the gVisor kernel's own
// needs; a peer with less room would be at a disadvantage.
const (
	extraMemory = 48 << 20
	extraPids   = 64
)

// runscSpec is the specification that the platform makes of the same revision
// for gVisor, with the namespaces and the limits that it sets by itself.
func runscSpec(rev *faas.Revision, cgroup, netns string) (*specs.Spec, error) {
	spec, err := oci.Spec(rev, oci.Options{
		Rootfs: rev.Image.Rootfs,
		Tmp:    specs.Mount{Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "nodev", "mode=1777"}},
	})
	if err != nil {
		return nil, err
	}
	limits := rev.Function.Limits
	limits.Memory += extraMemory
	limits.Pids += extraPids
	spec.Linux = &specs.Linux{
		CgroupsPath: cgroup,
		Namespaces: []specs.LinuxNamespace{
			{Type: specs.PIDNamespace}, {Type: specs.IPCNamespace}, {Type: specs.UTSNamespace}, {Type: specs.MountNamespace},
			{Type: specs.NetworkNamespace, Path: netns},
		},
		Resources: resources(limits),
	}
	return spec, nil
}

// runcSpec is the specification that the platform makes of the same revision
// for runc, with Docker's protections; the limits, which the platform sets by
// itself, are in it.
func runcSpec(rev *faas.Revision, cgroup string) (*specs.Spec, error) {
	limits := rev.Function.Limits
	spec, err := oci.Spec(rev, oci.Options{
		Rootfs: rev.Image.Rootfs, Hostname: rev.Function.Ref.Name, SharedMemory: limits.Disk,
		Tmp: specs.Mount{
			Type: "tmpfs", Source: "tmpfs",
			Options: []string{"nosuid", "nodev", "mode=1777", "size=" + strconv.FormatInt(limits.Disk, 10)},
		},
	})
	if err != nil {
		return nil, err
	}
	filter, err := oci.Seccomp()
	if err != nil {
		return nil, err
	}
	var own unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &own); err != nil {
		return nil, os.NewSyscallError("getrlimit", err)
	}
	spec.Process.Rlimits = runcLimits(spec.Process.Rlimits, own.Max)
	spec.Linux = &specs.Linux{
		CgroupsPath: cgroup,
		Namespaces: []specs.LinuxNamespace{
			{Type: specs.PIDNamespace}, {Type: specs.MountNamespace}, {Type: specs.IPCNamespace},
			{Type: specs.UTSNamespace}, {Type: specs.NetworkNamespace}, {Type: specs.CgroupNamespace},
		},
		Resources: resources(limits), Seccomp: filter,
		MaskedPaths: oci.MaskedPaths(), ReadonlyPaths: oci.ReadonlyPaths(),
	}
	spec.Linux.Resources.Devices = []specs.LinuxDeviceCgroup{{Allow: false, Access: "rwm"}}
	return spec, nil
}

// runcLimits are limits without that of a user's processes on the whole machine,
// and with no more open files than runc may set.
func runcLimits(limits []specs.POSIXRlimit, openFiles uint64) (fit []specs.POSIXRlimit) {
	for _, l := range limits {
		switch l.Type {
		case "RLIMIT_NPROC":
			continue
		case "RLIMIT_NOFILE":
			l.Soft, l.Hard = min(l.Soft, openFiles), min(l.Hard, openFiles)
		}
		fit = append(fit, l)
	}
	return fit
}

func resources(l faas.Limits) *specs.LinuxResources {
	pids := int64(l.Pids)
	period := uint64(100_000) // microseconds
	quota := int64(l.CPUs * float64(period))
	return &specs.LinuxResources{
		Memory: &specs.LinuxMemory{Limit: &l.Memory},
		CPU:    &specs.LinuxCPU{Quota: &quota, Period: &period},
		Pids:   &specs.LinuxPids{Limit: pids},
	}
}

// writeSpec writes the config.json of a bundle.
func writeSpec(dir string, spec *specs.Spec) error {
	text, err := json.Marshal(spec)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "config.json"), text, 0o600)
}
