package gvisor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/unifaas/unifaas/internal/faas"
	"github.com/unifaas/unifaas/internal/host/cgroup"
	"github.com/unifaas/unifaas/internal/sandbox"
)

const (
	// probeDirs is the pattern of the names of the probes' folders.
	probeDirs = ".probe-*"
	// probeTimeout bounds the probe's sandbox: a hundred times what it takes.
	probeTimeout = 10 * time.Second
	// idleMemory is what an idle sandbox with a small function takes, bytes.
	idleMemory = 20 << 20
)

// Probe boots one sandbox whose program exits with a status that nothing else
// gives, and looks for the reason where it can't.
func (d *Driver) Probe(ctx context.Context) sandbox.Capabilities {
	if err := d.impossible(os.Geteuid()); err != nil {
		return sandbox.Capabilities{Reason: err.reason, Remedy: err.remedy}
	}
	limited, err := d.groups.Use()
	if err != nil {
		return sandbox.Capabilities{Reason: "limits of memory, cpu and processes can't be enforced: " + err.Error(), Remedy: cgroup.Remedy(err)}
	}
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	if err := d.try(ctx); err != nil {
		reason, remedy := diagnose("/proc", os.Geteuid(), err)
		return sandbox.Capabilities{Reason: reason, Remedy: remedy}
	}
	return sandbox.Capabilities{Works: true, Detail: d.detail(limited), Isolation: sandbox.UserSpaceKernel, MemoryEstimate: idleMemory}
}

// A hindrance is a reason that needs no trial.
type hindrance struct{ reason, remedy string }

// impossible tells what stands against gVisor whatever a trial would say.
func (d *Driver) impossible(uid int) *hindrance {
	if listenNumber == 0 {
		return &hindrance{reason: "gVisor has no support for " + runtime.GOARCH}
	}
	if d.options.HostNetwork && uid != 0 {
		return &hindrance{"the host's network stack (network = \"host\") is for root only: others may not dial into network namespaces",
			"run as root, or set network = \"netstack\" in [gvisor]"}
	}
	return linkage(self)
}

func (d *Driver) detail(limited bool) string {
	notes := []string{"systrap"}
	if d.options.HostNetwork {
		notes = append(notes, "host network")
	}
	if !limited {
		err := d.groups.Usable()
		notes = append(notes, fmt.Sprintf("without limits of memory, cpu and processes (%v); to have them: %s", err, cgroup.Remedy(err)))
	}
	return strings.Join(notes, ", ")
}

// try runs the probe's program in a sandbox, in folders of its own.
func (d *Driver) try(ctx context.Context) (err error) {
	// In the run folder, where a sweep finds what a probe that is cut off leaves.
	if err := os.MkdirAll(d.host.RunDir, 0o700); err != nil {
		return err
	}
	dir, err := os.MkdirTemp(d.host.RunDir, probeDirs)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	rev, err := probeRevision(dir)
	if err != nil {
		return err
	}
	host := d.host
	host.StateDir = filepath.Join(dir, "state")
	// Its own driver, but the same cgroups.
	probe := &Driver{host: host, options: d.options, groups: d.groups, images: imageStore{dir: host.StateDir}}
	art, err := probe.Prepare(ctx, rev)
	if err != nil {
		return err
	}
	return probe.runProbe(ctx, dir, art, rev)
}

func probeRevision(dir string) (*faas.Revision, error) {
	rootfs := filepath.Join(dir, "rootfs")
	if err := os.Mkdir(rootfs, 0o755); err != nil {
		return nil, err
	}
	program, err := exitProgram(runtime.GOARCH)
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
		ID: fmt.Sprintf("%s-probe-%d", d.host.Node, os.Getpid()), Revision: rev, Dir: dir, Output: null,
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
		return fmt.Errorf("a sandbox did not run its program within %v", probeTimeout)
	}
	if exit := inst.Wait(); exit.Code != exitStatus {
		return fmt.Errorf("a sandbox did not run its program: %s", exit)
	}
	return nil
}

// A blocker is a known setting of the kernel that keeps gVisor from running.
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
	{"kernel/yama/ptrace_scope", "3", true, "the kernel forbids ptrace, which gVisor starts its processes with",
		"kernel.yama.ptrace_scope must be below 3; it can't be lowered before a reboot"},
}

// diagnose explains why the probe failed: by a setting known to cause that, or
// in the failure's own words.
func diagnose(proc string, uid int, failure error) (reason, remedy string) {
	for _, b := range blockers {
		text, err := os.ReadFile(filepath.Join(proc, "sys", b.file))
		if err == nil && strings.TrimSpace(string(text)) == b.value && (b.anyUser || uid != 0) {
			return b.reason, b.remedy
		}
	}
	if _, err := os.Stat(filepath.Join(proc, "sys/kernel/seccomp")); err != nil {
		return "the kernel has no seccomp filters", "use a kernel with CONFIG_SECCOMP_FILTER"
	}
	if usesCgo(self) {
		return failure.Error() + "; unifaas was built with cgo, whose C library can't start inside a sandbox", rebuild
	}
	if errors.Is(failure, syscall.EPERM) {
		remedy = "inside a container, allow user namespaces and mounts (docker run --privileged)"
	}
	return failure.Error(), remedy
}
