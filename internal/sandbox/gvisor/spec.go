package gvisor

import (
	"strconv"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/unifaas/unifaas/internal/faas"
	"github.com/unifaas/unifaas/internal/oci"
)

// Limits of a function that names none.
const (
	defaultMemory = 128 << 20
	defaultDisk   = 64 << 20
	defaultPids   = 128
)

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

// newSpec returns the specification of an instance of rev. /tmp says "bind"
// because gVisor asks only of bind mounts how they are backed; the answer,
// given on the sandbox's command line, is a tmpfs whose pages are a file's
// (see diskConf), so its source is never looked at.
func newSpec(rev *faas.Revision) (*specs.Spec, error) {
	limits := withDefaults(rev.Function.Limits)
	return oci.Spec(rev, oci.Options{
		Rootfs:       "/rootfs",
		Hostname:     rev.Function.Ref.Name,
		SharedMemory: min(limits.Disk, 64<<20),
		Tmp: specs.Mount{
			Type: "bind", Source: "/disk",
			Options: []string{"nosuid", "nodev", "mode=1777", "size=" + strconv.FormatInt(limits.Disk, 10)},
		},
	})
}

const (
	// rootConf: the root is an EROFS image with nothing writable above it.
	rootConf = "erofs:none"
	// diskConf: /tmp is a tmpfs with nothing below, its pages those of a host
	// file.
	diskConf = "none:anon"
)
