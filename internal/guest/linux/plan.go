package linux

import (
	"errors"
	"fmt"

	"github.com/unifaas/unifaas/internal/faas"
	"github.com/unifaas/unifaas/internal/guest/linux/plan"
	"github.com/unifaas/unifaas/internal/oci"
)

// Limits of a function that names none, and bounds.
const (
	defaultDisk = 64 << 20
	defaultPids = 128
	maxShm      = 64 << 20 // Docker's size of /dev/shm
	hostName    = 64       // bytes that the kernel takes
)

// NewPlan returns what the first process of rev's guests is to do. disk is the
// type of the file system on the first disk, which is the function's root, or
// "" when the root is in the initial file system.
func NewPlan(rev *faas.Revision, disk string) (*plan.Plan, error) {
	if rev.Image.Rootfs == "" {
		return nil, faas.Errorf(faas.KindInvalid, "function %q: its image has no root file system for a guest", rev.Function.Ref)
	}
	spec, err := oci.Spec(rev, oci.Options{})
	if err != nil {
		return nil, err
	}
	limits := rev.Function.Limits
	if limits.Disk == 0 {
		limits.Disk = defaultDisk
	}
	if limits.Pids == 0 {
		limits.Pids = defaultPids
	}
	process := spec.Process
	p := &plan.Plan{
		Argv: process.Args, Env: process.Env, Dir: process.Cwd, UID: process.User.UID, GID: process.User.GID,
		Hostname: rev.Function.Ref.Name, Port: rev.Function.Port, Disk: disk,
		Tmp: limits.Disk, Shm: min(limits.Disk, maxShm),
		Masked: maskedPaths, ReadOnly: oci.ReadonlyPaths(), Pids: limits.Pids,
	}
	p.Hostname = p.Hostname[:min(len(p.Hostname), hostName)]
	for _, l := range process.Rlimits {
		if l.Type == "RLIMIT_NOFILE" {
			p.OpenFiles = l.Hard
		}
	}
	if err := check(p); err != nil {
		return nil, faas.Errorf(faas.KindInvalid, "function %q: %w", rev.Function.Ref, err)
	}
	return p, nil
}

// maskedPaths are what a function can't look into. Docker's list hides the
// host; in a guest there is little to hide but the kernel's memory, and what
// this guest alone was told.
var maskedPaths = []string{"/proc/kcore", "/proc/keys", "/proc/cmdline", "/sys/firmware"}

func check(p *plan.Plan) error {
	if len(p.Argv) == 0 || p.Argv[0] == "" {
		return errors.New("no command")
	}
	if p.Port < 2 || p.Port > 65535 {
		return fmt.Errorf("port %d: a Linux guest's function can serve on 2 to 65535", p.Port)
	}
	return nil
}
