package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"runtime"
	"time"

	"github.com/unifaas/unifaas/internal/config"
	"github.com/unifaas/unifaas/internal/control"
	"github.com/unifaas/unifaas/internal/faas"
	"github.com/unifaas/unifaas/internal/guest/assets"
	"github.com/unifaas/unifaas/internal/guest/linux"
	"github.com/unifaas/unifaas/internal/sandbox"
	"github.com/unifaas/unifaas/internal/sandbox/all"
	"github.com/unifaas/unifaas/internal/sandbox/docker"
	"github.com/unifaas/unifaas/internal/sandbox/gvisor"
)

type versionCmd struct{ output }

func (c *versionCmd) Run(e *env) error {
	v := map[string]string{"version": version, "go": runtime.Version(), "platform": runtime.GOOS + "/" + runtime.GOARCH}
	return c.print(e.stdout, v, func(w io.Writer) {
		fmt.Fprintf(w, "unifaas %s (%s, %s)\n", version, v["go"], v["platform"])
	})
}

// drivers returns the drivers with the operator's settings, for a platform with
// these folders.
func drivers(c config.Sandboxes, dirs config.Dirs) func(sandbox.Host) []sandbox.Driver {
	return func(h sandbox.Host) []sandbox.Driver { return all.Drivers(h, settings(c, dirs)) }
}

func settings(c config.Sandboxes, dirs config.Dirs) all.Settings {
	return all.Settings{
		GVisor: gvisor.Options{HostNetwork: c.GVisor.Network == "host"},
		Docker: docker.Options{Host: c.Docker.Host},
		// Doctor's host has another folder of state, and the same kernels.
		Kernels: cmp.Or(c.Machines.Kernels, linux.Kernels(dirs.StateDir)),
		Assets:  assets.Dir(dirs.StateDir),
		Nanos:   c.Assets.Nanos,
		OSv:     c.Assets.OSv,
	}
}

// doctorCmd asks the drivers itself: it must help where no platform can run.
// Its settings and folders are those that `unifaas up` would have.
type doctorCmd struct {
	output
	config.Sandboxes
}

const probeTimeout = 20 * time.Second

func (c *doctorCmd) Run(e *env) error {
	exe, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find the path of unifaas: %w", err)
	}
	found, err := c.find(e, exe)
	if err != nil {
		return err
	}
	found = append(found, examineNode())
	if err := c.print(e.stdout, found, func(w io.Writer) { showSandboxes(w, found) }); err != nil {
		return err
	}
	for _, s := range found {
		if s.Works && s.Kind == control.KindSandbox {
			return nil
		}
	}
	return errQuiet{faas.KindUnavailable}
}

// find probes where a platform with these folders would run. Where the
// folders can't be made none can, whatever the sandbox.
func (c *doctorCmd) find(e *env, exe string) ([]control.Sandbox, error) {
	host, leave, err := waitingRoom(e.dirs)
	var refused *noRoom
	if errors.As(err, &refused) {
		return examine(e.ctx, refused.drivers(drivers(c.Sandboxes, e.dirs)(sandbox.Host{}))), nil
	}
	if err != nil {
		return nil, err
	}
	host.Exe, host.Logger = exe, slog.New(slog.DiscardHandler)
	found := examine(e.ctx, drivers(c.Sandboxes, e.dirs)(host))
	return found, leave()
}

// examine probes the sandboxes in this build, and lists the others of the
// design as what they are.
func examine(ctx context.Context, drivers []sandbox.Driver) []control.Sandbox {
	built := map[string]control.Sandbox{}
	for _, d := range drivers {
		probe, cancel := context.WithTimeout(ctx, probeTimeout)
		caps := d.Probe(probe)
		cancel()
		if c, ok := d.(io.Closer); ok && caps.Works {
			// What it keeps for the next instance would hold on to the folders
			// and the control group that doctor leaves. A failure shows there.
			_ = c.Close()
		}
		built[d.Name()] = control.Sandbox{Name: d.Name(), Works: caps.Works, Reason: caps.Reason, Remedy: caps.Remedy, Detail: caps.Detail, Isolation: caps.Isolation, Variants: caps.Variants}
	}
	var found []control.Sandbox
	for _, name := range faas.Sandboxes() {
		s, ok := built[name]
		if !ok {
			s = control.Sandbox{Name: name, Reason: "not in this build", Remedy: "use another sandbox, for instance gvisor"}
		}
		found = append(found, s)
	}
	return found
}

// examineNode tells whether functions in JavaScript can be had from this
// machine's Node.js: `file:node` takes it from the PATH, which is the one thing
// that the samples want of a machine beside a sandbox.
func examineNode() control.Sandbox {
	node := control.Sandbox{Name: "node", Kind: control.KindProgram}
	path, err := exec.LookPath("node")
	if err != nil {
		node.Reason = "there is no node in the PATH; functions whose image is \"file:node\", such as hello-node, are not served"
		node.Remedy = "apt-get install nodejs, or put the folder of your node into the platform's PATH"
		return node
	}
	node.Works, node.Detail = true, path+", for functions whose image is \"file:node\""
	return node
}

func showSandboxes(w io.Writer, found []control.Sandbox) {
	for _, s := range found {
		verdict := "works"
		if !s.Works {
			verdict = "does not work: " + s.Reason
		}
		fmt.Fprintf(w, "%-10s %s\n", s.Name, verdict)
		if s.Detail != "" {
			fmt.Fprintf(w, "%-10s   %s\n", "", s.Detail)
		}
		if !s.Works && s.Remedy != "" {
			fmt.Fprintf(w, "%-10s   to change that: %s\n", "", s.Remedy)
		}
	}
}
