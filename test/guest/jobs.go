package main

import (
	"context"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/unifaas/unifaas/test/guest/job"
)

// A task is a job before it is known where its files are.
type task struct {
	name     string
	pkg      string   // whose tests to run, below the module's root; "" runs args
	args     []string // of the program; for tests, flags beside those that all get
	require  string   // the sandboxes whose skips are failures, separated by commas
	builds   []string // packages that its tests run "go build" for
	programs []string // of the host that it needs, such as "runc"
	modules  []string // of the kernel that it needs, such as "overlay"
	drivers  []string // of the kernel, of which some may not be for this processor
	user     int      // see job.Job
	// needs is a variable that must be set for the task to be run, "" for none;
	// supply, if there is one, is what else it needs then.
	needs  string
	supply func(context.Context, builder) (supply, error)
}

// A supply is files of the host that a task needs, and how it is told of them.
type supply struct {
	files map[string]string // by path in the guest
	env   []string          // "NAME=value"
}

// nobody is an ordinary user.
const nobody = 65534

// suiteProgram is what the conformance suite runs in sandboxes.
const suiteProgram = "internal/sandbox/sandboxtest/guest/cmd"

// artefactProgram is a function of the paper's artefact.
const artefactProgram = "internal/sandbox/vm/testdata/artefact"

// tasks are what is tested. To add a driver is to add a line.
var tasks = []task{
	{name: "cgroup", pkg: "internal/host/cgroup"},
	{name: "netns", pkg: "internal/host/netns"},
	{name: "tapnet", pkg: "internal/host/tapnet", modules: []string{"tun"}},
	{name: "kvm", pkg: "internal/host/kvm", require: "kvm", drivers: []string{"kvm_amd", "kvm_intel"}},
	{
		name: "firecracker", pkg: "internal/vmm/firecracker", needs: firecrackerVariable, supply: supplyFirecracker,
		builds: []string{"internal/vmm/firecracker/inner"}, modules: []string{"tun"}, drivers: []string{"kvm_amd", "kvm_intel"},
		args: []string{"-test.run=^TestReal"},
	},
	onFirecracker("linux-firecracker", "Firecracker", "MemoryLimit|ExitCode"),
	onFirecracker("linux-vsock", "Vsock", "NoNetwork|ManyConnections|LowPort"),
	{
		name: "linux-qemu", pkg: "internal/sandbox/vm", supply: supplyQEMU, require: "linux,kvm", programs: []string{"qemu-system-x86_64"},
		builds: []string{suiteProgram}, modules: []string{"tun"}, drivers: []string{"kvm_amd", "kvm_intel"},
		args: []string{"-test.run=^TestUnderKVM$"},
	},
	unikernel("nanos", "firecracker", "NanosFirecracker", "|ExitCode", supplyNanos),
	unikernel("nanos", "qemu", "NanosQ35", "|ExitCode", supplyNanos),
	unikernel("osv", "firecracker", "OSvFirecracker", "", supplyOSv),
	unikernel("osv", "qemu", "OSvQ35", "", supplyOSv),
	{name: "platform", args: []string{"/platform"}},
	{name: "platform-user", args: []string{"/platform"}, user: nobody},
	{
		name: "container", pkg: "internal/sandbox/container", require: "container", modules: []string{"overlay"},
		builds: []string{suiteProgram, "internal/sandbox/container/launcher", "internal/sandbox/sandboxtest/breakout/breaker"},
	},
	{
		name: "runc", pkg: "internal/sandbox/runc", require: "runc,crun", modules: []string{"overlay"}, programs: []string{"runc", "crun"},
		builds: []string{suiteProgram, "internal/sandbox/sandboxtest/breakout/breaker"},
		args:   []string{"-test.skip=^TestManyAtOnce$"}, // emulated, 40 starts at once take longer than the driver lets one take
	},
	{
		name: "gvisor", pkg: "internal/sandbox/gvisor", require: "gvisor", builds: []string{suiteProgram},
		args: []string{"-test.skip=^TestLinkage$"}, // it looks at what Go's linker makes
	},
}

// onFirecracker is the task of Linux guests on Firecracker. Emulated twice, a start
// takes ten times as long: some of the suite, and more of it by name, is enough to
// see that it all fits together.
func onFirecracker(name, test, more string) task {
	cases := "Serves|StopIsIdempotent|RecoverAfterCrash|OutputHasBothStreams|" + more
	return task{
		name: name, pkg: "internal/sandbox/vm", needs: firecrackerVariable, supply: supplyMachines, require: "linux-firecracker,linux",
		builds: []string{suiteProgram}, modules: []string{"tun"}, drivers: []string{"kvm_amd", "kvm_intel"},
		args: []string{"-test.run=^TestConformance" + test + "$/^(" + cases + ")$"},
	}
}

// unikernel is the task of a unikernel on a monitor, by KVM. Emulated twice, a
// start takes ten times as long: some of the suite is enough to see that it all
// fits together.
func unikernel(system, monitor, test string, more string, supplier func(context.Context, builder, string) (supply, error)) task {
	cases := "Serves|StopIsIdempotent|MemoryWithinLimit|RecoverAfterCrash|OutputHasBothStreams" + more
	t := task{
		name: system + "-" + monitor, pkg: "internal/sandbox/vm", require: system + "-" + monitor + "," + system + ",kvm",
		needs: unikernelVariables[system], builds: []string{suiteProgram, artefactProgram}, modules: []string{"tun"}, drivers: []string{"kvm_amd", "kvm_intel"},
		args: []string{"-test.run=^Test(Conformance|Artefacts)" + test + "$/^(" + cases + ")$"},
	}
	if monitor == "qemu" {
		t.programs = []string{"qemu-system-x86_64"}
	}
	t.supply = func(ctx context.Context, b builder) (supply, error) {
		s, err := supplier(ctx, b, monitor)
		// What hides from a guest what an emulated processor can't do in it is
		// cpuConfig for Firecracker.
		s.env = append(s.env, "UNIFAAS_TEST_ACCELERATOR=kvm", "UNIFAAS_TEST_CPU_MODEL=host,-xsave,-avx,-avx2")
		return s, err
	}
	return t
}

// Where things are in the guest.
const (
	guestTests    = "/tests"    // PACKAGE/test, and its testdata
	guestPrograms = "/programs" // PACKAGE/program; go.sh knows it, too
	guestModules  = "/modules"  // NAME.ko
)

// chosen returns the tasks that are named in a list with commas, all of them
// if it is empty, and the names that are none.
func chosen(list string) (picked []task, unknown []string) {
	if list == "" {
		return tasks, nil
	}
	for name := range strings.SplitSeq(list, ",") {
		i := slices.IndexFunc(tasks, func(t task) bool { return t.name == name })
		if i < 0 {
			unknown = append(unknown, name)
			continue
		}
		picked = append(picked, tasks[i])
	}
	return picked, unknown
}

// withoutNeedy leaves out the tasks that need what is not given, and says so.
func withoutNeedy(tasks []task) []task {
	return slices.DeleteFunc(slices.Clone(tasks), func(t task) bool {
		missing := t.needs != "" && os.Getenv(t.needs) == ""
		if missing {
			fmt.Printf("%s: left out, for %s is not set\n", t.name, t.needs)
		}
		return missing
	})
}

// job returns what the init has to do. modules and drivers are paths in the
// order in which they must be loaded.
func (t task) job(modules, drivers, extra []string, timeout time.Duration) job.Job {
	j := job.Job{
		Name: t.name, Args: t.args, Dir: "/", Timeout: timeout, User: t.user, Modules: modules, Drivers: drivers,
		Env: []string{"PATH=/bin:/usr/bin:/sbin:/usr/sbin", "HOME=/tmp", "TMPDIR=/tmp"},
	}
	if t.require != "" {
		j.Env = append(j.Env, "UNIFAAS_REQUIRE="+t.require)
	}
	if t.pkg != "" {
		j.Dir = path.Join(guestTests, t.pkg)
		j.Args = append([]string{path.Join(j.Dir, "test"), "-test.v", "-test.timeout=0"}, t.args...)
		j.Args = append(j.Args, extra...)
	}
	return j
}
