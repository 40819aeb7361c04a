package vm

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/unifaas/unifaas/internal/callback"
	"github.com/unifaas/unifaas/internal/faas"
	"github.com/unifaas/unifaas/internal/guest"
	"github.com/unifaas/unifaas/internal/guest/linux/control"
	"github.com/unifaas/unifaas/internal/guest/linux/plan"
	"github.com/unifaas/unifaas/internal/guest/linux/wire"
	"github.com/unifaas/unifaas/internal/host/cgroup"
	"github.com/unifaas/unifaas/internal/host/process"
	"github.com/unifaas/unifaas/internal/sandbox"
	"github.com/unifaas/unifaas/internal/vmm"
)

const (
	// undoTimeout bounds the undoing of a start that failed.
	undoTimeout = 20 * time.Second
	// machineDir is the machine's own folder, in the instance's.
	machineDir = "machine"
	// controlPort is where agents report, and callbackPort where functions of
	// the artefact's form do: it is the artefact's.
	controlPort  = 1
	callbackPort = 3000
	// guestCID is every guest's address by vsock: each is alone with its monitor.
	guestCID = 3
	// overhead is what a monitor may take beside its guest's memory, bytes, and
	// monitorPids how many processes and threads it may have.
	overhead    = 192 << 20
	monitorPids = 64
)

// state is what is recorded of an instance.
type state struct {
	Monitor string `json:"monitor"`
	// Cgroup is what finds the instance's control group again.
	Cgroup string `json:"cgroup"`
	// Pid and Started identify the monitor's process, once it is known.
	Pid     int    `json:"pid,omitempty"`
	Started uint64 `json:"started,omitempty"`
	UID     int    `json:"uid"`
	Memory  int64  `json:"memory"` // of the guest, bytes
	Agent   bool   `json:"agent,omitempty"`
	Vsock   bool   `json:"vsock,omitempty"` // the way in
}

// identity is the recorded process; ok is false where none was.
func (st state) identity() (id process.Identity, ok bool) {
	return process.Identity{Pid: st.Pid, Started: st.Started}, st.Pid != 0
}

// A starter is one start under way.
type starter struct {
	driver *Driver
	art    *artifact
	spec   sandbox.Spec
	state  state
	inst   *instance
}

// Start makes an instance. See [sandbox.Driver].
func (d *Driver) Start(ctx context.Context, art sandbox.Artifact, spec sandbox.Spec) (sandbox.Instance, error) {
	a, ok := art.(*artifact)
	if !ok {
		return nil, errNotOurs
	}
	s := &starter{driver: d, art: a, spec: spec}
	s.inst = &instance{driver: d, id: spec.ID, fn: &a.rev.Function, memory: a.memory, byVsock: a.vsock, trace: spec.Trace}
	err := s.run(ctx)
	if err == nil {
		s.inst.watch()
		return s.inst, nil
	}
	err = s.explain(ctx, err)
	undo, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTimeout)
	defer cancel()
	return nil, errors.Join(err, s.inst.release(undo))
}

func (s *starter) run(ctx context.Context) error {
	steps := []struct {
		name string
		do   func(context.Context) error
	}{
		{"cgroup", s.makeGroup},
		{"network", s.makeNetwork},
		{"monitor", s.startMachine},
	}
	for _, step := range steps {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := step.do(ctx); err != nil {
			return err
		}
		s.spec.Phase(step.name)
	}
	return nil
}

// makeGroup records everything but the process, and makes the control group.
func (s *starter) makeGroup(context.Context) error {
	groups := s.driver.groups
	if err := groups.Usable(); err != nil {
		return limitless(err)
	}
	user, err := s.driver.machines.users.Take()
	if err != nil {
		return err
	}
	uid := int(user)
	s.inst.uid = uid
	s.state = state{
		Monitor: s.art.monitor.Name(), Cgroup: groups.Record(s.spec.ID), UID: uid, Memory: s.art.memory, Agent: s.art.image.Agent, Vsock: s.art.vsock,
	}
	if err := s.spec.Record(s.state); err != nil {
		return fmt.Errorf("record machine: %w", err)
	}
	s.inst.group, err = groups.Create(s.spec.ID, cgroup.Limits{Memory: s.art.memory + overhead, Pids: monitorPids + s.art.cpus})
	if err != nil {
		return limitless(err)
	}
	return nil
}

// makeNetwork takes a network and listens in it for what the guest has to say. A
// guest without one has its monitor in there: it is to reach nothing, either.
func (s *starter) makeNetwork(ctx context.Context) (err error) {
	if s.inst.network, err = s.driver.machines.network(ctx); err != nil {
		return err
	}
	if s.art.image.Agent && !s.inst.byVsock {
		if err := s.inst.hear(s.spec.Output); err != nil {
			return err
		}
	}
	if s.inst.fn.Ready.Kind == faas.ReadyCallback {
		return s.inst.expectCallback(s.driver)
	}
	return nil
}

// hear listens for the agent in the guest.
func (i *instance) hear(output *os.File) error {
	var err error
	if i.output, err = keepOutput(output); err != nil {
		return fmt.Errorf("open the instance's output: %w", err)
	}
	listener, err := i.listen()
	if err != nil {
		return fmt.Errorf("listen for the guest: %w", err)
	}
	i.agent = control.Listen(listener, control.Options{
		ID: i.id, Address: i.network.Plan().Guest.AsSlice(), BelowPort: plan.FirstFree(i.fn.Port),
		Output: i.output, Phase: i.boot.note,
		Set: func() wire.Set { return wire.Set{Time: time.Now().UnixNano(), Seed: seed()} },
	})
	return nil
}

// listen listens where the guest dials: on the gateway of its network, or by
// vsock, for which its machine must run.
func (i *instance) listen() (net.Listener, error) {
	if !i.byVsock {
		return i.network.Listen(controlPort)
	}
	v, err := i.vsock()
	if err != nil {
		return nil, err
	}
	return v.ListenVsock(controlPort)
}

// expectCallback listens for the function's own word that it is ready.
func (i *instance) expectCallback(d *Driver) error {
	listener, err := i.network.Listen(callbackPort)
	if err != nil {
		return fmt.Errorf("listen for the ready callback: %w", err)
	}
	i.calls = callback.Serve(listener, callback.Options{Logger: d.host.Logger})
	i.call = i.calls.Expect(i.id, i.network.Plan().Guest)
	return nil
}

// startMachine starts the monitor and records its process.
func (s *starter) startMachine(ctx context.Context) error {
	s.inst.dir = filepath.Join(s.spec.Dir, machineDir)
	if err := s.makeDir(); err != nil {
		return err
	}
	config, err := s.config(ctx)
	if err != nil {
		return err
	}
	if config.Console, err = s.openConsole(); err != nil {
		return err
	}
	defer func() { _ = config.Console.Close() }()
	if s.inst.machine, err = s.art.monitor.Start(ctx, config); err != nil {
		return err
	}
	s.inst.boot.since = time.Now()
	id := s.inst.machine.Process()
	s.state.Pid, s.state.Started = id.Pid, id.Started
	if err := s.spec.Record(s.state); err != nil {
		return fmt.Errorf("record monitor: %w", err)
	}
	if s.art.image.Agent && s.inst.byVsock {
		return s.inst.hear(s.spec.Output)
	}
	return nil
}

// openConsole opens what the guest's console goes to: its function's output,
// unless that comes by an agent.
func (s *starter) openConsole() (*os.File, error) {
	if !s.art.image.Agent {
		return openOutput(s.spec.Output)
	}
	var err error
	if s.inst.console, err = newConsole(s.inst.dir); err != nil {
		return nil, err
	}
	return s.inst.console.open()
}

// makeDir makes the folder in which the monitor keeps its sockets. What leads
// to it, root alone may look into; the monitor has to pass.
func (s *starter) makeDir() error {
	if err := os.Mkdir(s.inst.dir, 0o700); err != nil {
		return err
	}
	return os.Chown(s.inst.dir, s.inst.uid, s.inst.uid)
}

func (s *starter) config(ctx context.Context) (vmm.Config, error) {
	image, network := s.art.image, s.inst.network.Plan()
	c := vmm.Config{
		ID: s.spec.ID, Dir: s.inst.dir,
		Boot: image.Boot, Kernel: image.Kernel, Initrd: image.Initrd,
		Memory: s.art.memory, CPUs: s.art.cpus,
		NoEntropy: image.NoEntropy, Options: image.Options, UID: s.inst.uid, GID: s.inst.uid,
		Spawn: s.spawn,
	}
	rates := s.inst.fn.VM
	if rates == nil {
		rates = &faas.VM{}
	}
	if s.inst.byVsock {
		c.Vsock = guestCID
	} else {
		c.NICs = []vmm.NIC{{Tap: network.Tap, MAC: network.GuestMAC, Open: s.inst.network.Open, Bandwidth: rates.NetworkRate}}
	}
	instance := guest.Instance{
		ID: s.spec.ID, Guest: network.Guest, Gateway: network.Gateway,
		GuestMAC: network.GuestMAC, GatewayMAC: network.GatewayMAC, Control: controlPort,
		Callback: fmt.Sprintf("http://%v/ready/%s", netip.AddrPortFrom(network.Gateway.Addr(), callbackPort), s.spec.ID),
	}
	if image.Cmdline != nil {
		c.Cmdline = image.Cmdline(instance)
	}
	for n, d := range image.Disks {
		path, err := s.disk(ctx, n, instance)
		if err != nil {
			return c, err
		}
		c.Disks = append(c.Disks, vmm.Disk{Path: path, ReadOnly: !d.Private, Bandwidth: rates.DiskRate})
	}
	return c, nil
}

// spawn starts the monitor inside the machine's control group and network: it
// is born where the thread is that forks it, and so both have to be entered by
// the same one.
func (s *starter) spawn(cmd *exec.Cmd) error {
	return s.inst.group.Start(func(attr *syscall.SysProcAttr) error {
		if cmd.SysProcAttr == nil {
			cmd.SysProcAttr = &syscall.SysProcAttr{}
		}
		cmd.SysProcAttr.UseCgroupFD, cmd.SysProcAttr.CgroupFD = attr.UseCgroupFD, attr.CgroupFD
		return s.inst.network.Here(cmd.Start)
	})
}

// explain turns a start's error into one for people.
func (s *starter) explain(ctx context.Context, err error) error {
	ref, name := s.art.rev.Function.Ref, s.driver.Name()+" on "+s.art.monitor.Name()
	if ctx.Err() != nil {
		return faas.Errorf(faas.KindOf(ctx.Err()), "start function %q in %s: %w", ref, name, errors.Join(ctx.Err(), err))
	}
	kind := faas.KindBroken
	var told *faas.Error
	if errors.As(err, &told) {
		kind = told.Kind
	}
	return faas.Errorf(kind, "start function %q in %s: %w", ref, name, err)
}
