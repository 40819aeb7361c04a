package container

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/unifaas/unifaas/internal/faas"
	"github.com/unifaas/unifaas/internal/host/cgroup"
	"github.com/unifaas/unifaas/internal/oci"
	"github.com/unifaas/unifaas/internal/sandbox"
	"github.com/unifaas/unifaas/internal/sandbox/container/script"
)

const (
	// probeDirs is the pattern of the names of the probes' folders.
	probeDirs = ".container-probe-*"
	// probeTimeout bounds the probe's container: a thousand times what it takes.
	probeTimeout = 10 * time.Second
	// idleMemory is what an idle small function takes, bytes.
	idleMemory = 4 << 20
)

// Probe starts one container, whose program is the launcher once more, and
// looks for the reason where it can't.
func (d *Driver) Probe(ctx context.Context) sandbox.Capabilities {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	if _, err := d.groups.Use(); err != nil {
		return sandbox.Capabilities{Reason: err.Error(), Remedy: cgroup.Remedy(err)}
	}
	if err := d.try(ctx); err != nil {
		reason, remedy := diagnose("/proc", os.Geteuid(), err)
		return sandbox.Capabilities{Reason: reason, Remedy: remedy}
	}
	return sandbox.Capabilities{Works: true, Detail: d.detail(), Isolation: sandbox.SharedKernel, MemoryEstimate: idleMemory}
}

func (d *Driver) detail() string {
	notes := []string{"users of its own for each instance"}
	if d.ids == nil {
		notes[0] = "instances run as the platform's user"
	}
	if err := d.groups.Usable(); err != nil {
		notes = append(notes, fmt.Sprintf("without limits of memory, cpu and processes (%v); %s", err, cgroup.Remedy(err)))
	}
	return strings.Join(notes, ", ")
}

// try runs the probe's program in a container, in a folder of its own.
func (d *Driver) try(ctx context.Context) (err error) {
	program, err := d.program()
	if err != nil {
		return err
	}
	// In the run folder, where a sweep finds what a probe that is cut off leaves.
	if err := os.MkdirAll(d.host.RunDir, 0o700); err != nil {
		return err
	}
	dir, err := os.MkdirTemp(d.host.RunDir, probeDirs)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	rev, err := probeRevision(dir, program)
	if err != nil {
		return err
	}
	art, err := d.Prepare(ctx, rev)
	if err != nil {
		return err
	}
	return d.runProbe(ctx, dir, art, rev)
}

func probeRevision(dir string, launcher *os.File) (*faas.Revision, error) {
	rootfs := filepath.Join(dir, "rootfs")
	for _, point := range oci.MountPoints() {
		if err := os.MkdirAll(filepath.Join(rootfs, point), 0o755); err != nil {
			return nil, err
		}
	}
	program, err := os.ReadFile(fmt.Sprintf("/proc/self/fd/%d", launcher.Fd()))
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(rootfs, "probe"), program, 0o755); err != nil {
		return nil, err
	}
	return &faas.Revision{
		Function: faas.Function{Ref: faas.NewRef("probe"), Command: []string{"/probe"}, Limits: faas.Limits{Memory: 64 << 20}},
		Image:    faas.Image{Digest: "probe", Rootfs: rootfs},
	}, nil
}

func (d *Driver) runProbe(ctx context.Context, dir string, art sandbox.Artifact, rev *faas.Revision) (err error) {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, null.Close()) }()
	inst, err := d.Start(ctx, art, sandbox.Spec{
		// The folder's name makes it one of many that may probe at once.
		ID:       fmt.Sprintf("%s-probe-%s", d.host.Node, strings.TrimPrefix(filepath.Base(dir), ".container-probe-")),
		Revision: rev, Dir: dir, Output: null,
		Record: func(any) error { return nil }, // nobody recovers a probe; a sweep finds it
	})
	if err != nil {
		return err
	}
	defer func() {
		stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTimeout)
		defer cancel()
		err = errors.Join(err, inst.Stop(stop))
	}()
	select {
	case <-inst.Done():
	case <-ctx.Done():
		return fmt.Errorf("a container did not run its program within %v", probeTimeout)
	}
	if exit := inst.Wait(); exit.Code != script.ProbeStatus {
		return fmt.Errorf("a container did not run its program: %s", exit)
	}
	return nil
}

// A blocker is a known setting of the kernel that keeps containers from
// running.
type blocker struct {
	file    string // below /proc/sys
	value   string // that blocks
	anyUser bool   // root, too
	reason  string
	remedy  string
}

var blockers = []blocker{
	{"user/max_user_namespaces", "0", true, "the kernel allows no user namespaces",
		"sysctl user.max_user_namespaces=10000"},
	{"kernel/unprivileged_userns_clone", "0", false, "the kernel allows user namespaces to root only",
		"run as root, or sysctl kernel.unprivileged_userns_clone=1"},
	{"kernel/apparmor_restrict_unprivileged_userns", "1", false, "AppArmor keeps ordinary users from user namespaces",
		"run as root, or sysctl kernel.apparmor_restrict_unprivileged_userns=0"},
}

// diagnose explains why the probe failed: by what the build lacks, by a
// setting known to cause that, or in the failure's own words.
func diagnose(proc string, uid int, failure error) (reason, remedy string) {
	if errors.Is(failure, errNoLauncher) {
		return failure.Error(), "build with make build"
	}
	for _, b := range blockers {
		text, err := os.ReadFile(filepath.Join(proc, "sys", b.file))
		if err == nil && strings.TrimSpace(string(text)) == b.value && (b.anyUser || uid != 0) {
			return b.reason, b.remedy
		}
	}
	if _, err := os.Stat(filepath.Join(proc, "sys/kernel/seccomp")); err != nil {
		return "the kernel has no seccomp filters", "use a kernel with CONFIG_SECCOMP_FILTER"
	}
	// Numbers that are not in use are handled before their arguments are looked at.
	if err := unix.MountSetattr(-1, "", 0, &unix.MountAttr{}); errors.Is(err, unix.ENOSYS) {
		return "the kernel has no mount_setattr", "use Linux 5.12 or later"
	}
	if errors.Is(failure, syscall.EPERM) || strings.Contains(failure.Error(), syscall.EPERM.Error()) {
		remedy = "inside a container, allow user namespaces and mounts (docker run --privileged)"
	}
	return failure.Error(), remedy
}
