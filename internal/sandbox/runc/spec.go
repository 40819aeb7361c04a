package runc

import (
	"os"
	"strconv"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/unifaas/unifaas/internal/faas"
	"github.com/unifaas/unifaas/internal/oci"
)

// Limits of a function that names none.
const (
	defaultMemory = 128 << 20
	defaultDisk   = 64 << 20
	defaultPids   = 128
)

// oomScore makes the kernel take a function before the platform, whose score
// is not adjusted, when the whole machine is short of memory.
const oomScore = 500

// specVersion is the oldest version of the runtime specification that has all
// that is used here. crun 1.8 refuses those it does not know yet.
const specVersion = "1.0.2"

// withDefaults fills in the limits that a function leaves to its sandbox.
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

// newSpec returns the specification that all instances of rev share.
func newSpec(rev *faas.Revision) (*specs.Spec, error) {
	limits := withDefaults(rev.Function.Limits)
	spec, err := oci.Spec(rev, oci.Options{
		Rootfs:       rev.Image.Rootfs,
		Hostname:     rev.Function.Ref.Name,
		SharedMemory: min(limits.Disk, 64<<20),
		Tmp: specs.Mount{
			Type: "tmpfs", Source: "tmpfs",
			Options: []string{"nosuid", "nodev", "mode=1777", "size=" + strconv.FormatInt(limits.Disk, 10)},
		},
	})
	if err != nil {
		return nil, err
	}
	if err := checkFolders(rev, spec); err != nil {
		return nil, err
	}
	return spec, protect(spec)
}

// protect adds what a runtime does not do by itself.
func protect(spec *specs.Spec) error {
	filter, err := oci.Seccomp()
	if err != nil {
		return err
	}
	var own unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &own); err != nil {
		return os.NewSyscallError("getrlimit", err)
	}
	spec.Version = specVersion
	score := oomScore
	spec.Process.OOMScoreAdj = &score
	spec.Process.ApparmorProfile = oci.AppArmorProfile()
	spec.Process.Rlimits = fitLimits(spec.Process.Rlimits, own.Max)
	spec.Linux = &specs.Linux{
		Namespaces: []specs.LinuxNamespace{
			{Type: specs.PIDNamespace}, {Type: specs.MountNamespace}, {Type: specs.IPCNamespace},
			{Type: specs.UTSNamespace}, {Type: specs.NetworkNamespace}, {Type: specs.CgroupNamespace},
		},
		// Runtimes allow /dev/null and its like on top of this.
		Resources:     &specs.LinuxResources{Devices: []specs.LinuxDeviceCgroup{{Allow: false, Access: "rwm"}}},
		Seccomp:       filter,
		Sysctl:        oci.Sysctls(),
		MaskedPaths:   oci.MaskedPaths(),
		ReadonlyPaths: oci.ReadonlyPaths(),
	}
	return nil
}

// fitLimits returns limits without those that make no sense in a container,
// and with no more open files than openFiles: a runtime that is not privileged
// to raise the platform's own limit would fail.
func fitLimits(limits []specs.POSIXRlimit, openFiles uint64) []specs.POSIXRlimit {
	var fit []specs.POSIXRlimit
	for _, l := range limits {
		switch l.Type {
		case "RLIMIT_NPROC":
			// It counts the processes of a user on the whole machine, not those
			// of this instance; the control group counts those.
			continue
		case "RLIMIT_NOFILE":
			l.Soft, l.Hard = min(l.Soft, openFiles), min(l.Hard, openFiles)
		}
		fit = append(fit, l)
	}
	return fit
}

// inGroup returns spec for an instance in the control group at path, as seen
// from each hierarchy's root.
func inGroup(spec *specs.Spec, path string) *specs.Spec {
	copied, linux := *spec, *spec.Linux
	linux.CgroupsPath = path
	copied.Linux = &linux
	return &copied
}
