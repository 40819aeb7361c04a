package docker

import (
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/unifaas/unifaas/internal/sandbox"
)

const (
	probeTimeout = 10 * time.Second
	// idleMemory is what an idle container with a small function takes, with
	// its shim, in bytes.
	idleMemory = 17 << 20
)

// Probe asks the Engine what it is and what it can do. It starts no
// container: that would need an image.
func (d *Driver) Probe(ctx context.Context) sandbox.Capabilities {
	if d.broken != nil {
		return sandbox.Capabilities{Reason: d.broken.Error(), Remedy: "set DOCKER_HOST to unix:///PATH"}
	}
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	info, err := d.engine.info(ctx)
	if err != nil {
		return d.unreachable(err)
	}
	if reason, remedy := info.blocker(); reason != "" {
		return sandbox.Capabilities{Reason: reason, Remedy: remedy}
	}
	return sandbox.Capabilities{
		Works: true, Detail: info.detail(d.engine.ClientVersion()), MemoryEstimate: idleMemory, Variants: info.variants(),
	}
}

// variants are the Engine's runtimes.
// isolations are those of runtimes by the names that they have in every
// Engine's configuration. What others do is not known.
var isolations = map[string]sandbox.Isolation{
	"runc": sandbox.SharedKernel, "crun": sandbox.SharedKernel, "runsc": sandbox.UserSpaceKernel,
}

func (i *engineInfo) variants() []sandbox.Variant {
	var variants []sandbox.Variant
	for _, name := range i.runtimes() {
		variants = append(variants, sandbox.Variant{Name: Name + "-" + name, Keys: fmt.Sprintf("runtime = %q\n", name), Isolation: isolations[name]})
	}
	return variants
}

// runtimes are the names of the Engine's runtimes, each once.
func (i *engineInfo) runtimes() []string {
	return slices.DeleteFunc(slices.Sorted(maps.Keys(i.Runtimes)), func(name string) bool {
		return strings.HasPrefix(name, "io.containerd.") // runc once more, by its shims' names
	})
}

func (d *Driver) unreachable(err error) sandbox.Capabilities {
	if !away(err) {
		return sandbox.Capabilities{Reason: err.Error()}
	}
	reason, remedy := diagnose(err)
	return sandbox.Capabilities{Reason: fmt.Sprintf("the Docker Engine at %s %s", d.engine.address, reason), Remedy: remedy}
}

// blocker says why functions can't run on this Engine although it answers.
func (i *engineInfo) blocker() (reason, remedy string) {
	switch {
	case i.OSType != "linux":
		return fmt.Sprintf("the Docker Engine runs %s containers", i.OSType), "use one for Linux"
	case !i.here():
		return fmt.Sprintf("the Docker Engine runs on %q, not here: its containers can't be reached", i.Name), "set DOCKER_HOST to the Engine of this machine"
	case !i.MemoryLimit || !i.PidsLimit || !i.CPUCfsQuota:
		return fmt.Sprintf("the Docker Engine can't limit memory, processes and processors (its cgroup driver is %q)", i.CgroupDriver),
			"mount the cgroup controllers memory, pids and cpu, and restart dockerd"
	}
	return "", ""
}

// here reports whether the Engine is on this machine, as far as the kernel
// tells: one in a virtual machine has another.
func (i *engineInfo) here() bool {
	var uts unix.Utsname
	return unix.Uname(&uts) != nil || unix.ByteSliceToString(uts.Release[:]) == i.KernelVersion
}

func (i *engineInfo) detail(version string) string {
	note := fmt.Sprintf("Docker %s, API %s, runtimes %s, cgroup %s v%s", i.ServerVersion, version,
		strings.Join(i.runtimes(), " "), i.CgroupDriver, i.CgroupVersion)
	if i.LiveRestoreEnabled {
		note += ", live restore"
	}
	if os.Geteuid() != 0 {
		note += "; functions reach this machine's own addresses, run as root to close that"
	}
	return note
}
