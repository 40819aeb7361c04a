package main

import (
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
	require  string   // the sandbox whose skips are failures
	builds   []string // packages that its tests run "go build" for
	programs []string // of the host that it needs, such as "runc"
	modules  []string // of the kernel that it needs, such as "overlay"
	user     int      // see job.Job
}

// nobody is an ordinary user.
const nobody = 65534

// suiteProgram is what the conformance suite runs in sandboxes.
const suiteProgram = "internal/sandbox/sandboxtest/guest/cmd"

// tasks are what is tested. To add a driver is to add a line.
var tasks = []task{
	{name: "cgroup", pkg: "internal/host/cgroup"},
	{name: "netns", pkg: "internal/host/netns"},
	{name: "platform", args: []string{"/platform"}},
	{name: "platform-user", args: []string{"/platform"}, user: nobody},
	{
		name: "container", pkg: "internal/sandbox/container", require: "container", modules: []string{"overlay"},
		builds: []string{suiteProgram, "internal/sandbox/container/launcher", "internal/sandbox/sandboxtest/breakout/breaker"},
	},
	{
		name: "runc", pkg: "internal/sandbox/runc", require: "runc", modules: []string{"overlay"}, programs: []string{"runc", "crun"},
		builds: []string{suiteProgram, "internal/sandbox/sandboxtest/breakout/breaker"},
		args:   []string{"-test.skip=^TestManyAtOnce$"}, // emulated, 40 starts at once take longer than the driver lets one take
	},
	{
		name: "gvisor", pkg: "internal/sandbox/gvisor", require: "gvisor", builds: []string{suiteProgram},
		args: []string{"-test.skip=^TestLinkage$"}, // it looks at what Go's linker makes
	},
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

// job returns what the init has to do. modules are paths in the order in which
// they must be loaded.
func (t task) job(modules, extra []string, timeout time.Duration) job.Job {
	j := job.Job{
		Name: t.name, Args: t.args, Dir: "/", Timeout: timeout, User: t.user, Modules: modules,
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
