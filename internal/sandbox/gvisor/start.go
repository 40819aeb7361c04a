package gvisor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/runsc/boot"

	"github.com/unifaas/unifaas/internal/faas"
	"github.com/unifaas/unifaas/internal/host/cgroup"
	"github.com/unifaas/unifaas/internal/sandbox"
)

const (
	// overhead is added to a function's memory limit for the sandbox kernel
	// itself, in bytes: it takes 20 to 30 MiB, and the limit in function.toml
	// is the function's own.
	overhead = 48 << 20
	// ownThreads is added to a function's limit of processes for the threads
	// of the sandbox kernel.
	ownThreads = 64
	// undoTimeout bounds the undoing of a start that failed.
	undoTimeout = 10 * time.Second
)

// state is what is recorded of an instance.
type state struct {
	// Cgroup is the name of its group; "" when it has none.
	Cgroup string `json:"cgroup,omitempty"`
	// Pid and Started identify the sandbox process: a process with another
	// start time, in clock ticks since the machine's boot, is another process.
	Pid     int    `json:"pid,omitempty"`
	Started uint64 `json:"started,omitempty"`
	// HostNetwork is whether it was started with the host kernel's network.
	HostNetwork bool `json:"host_network,omitempty"`
	// Memory is the limit for which an out-of-memory kill is explained, bytes.
	Memory int64 `json:"memory"`
}

// A starter is one start under way.
type starter struct {
	driver *Driver
	art    *artifact
	spec   sandbox.Spec
	limits faas.Limits
	state  state
	inst   *instance

	fds     []int    // closed when the start is over, whatever came of it
	gate    *os.File // the child goes on when a byte is written here
	booted  *os.File // the child writes a byte here when it has booted
	process *process
}

// Start makes an instance. See [sandbox.Driver].
func (d *Driver) Start(ctx context.Context, art sandbox.Artifact, spec sandbox.Spec) (sandbox.Instance, error) {
	a, ok := art.(*artifact)
	if !ok {
		return nil, errNotOurs
	}
	s := &starter{driver: d, art: a, spec: spec, limits: withDefaults(a.rev.Function.Limits)}
	s.inst = newInstance(d, spec.ID, spec.Dir, a.rev)
	s.inst.memory = s.limits.Memory
	err := s.run(ctx)
	s.close()
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
		{"files", s.openFiles},
		{"process", s.startProcess},
		{"boot", s.waitBooted},
		{"start", s.startFunction},
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

// makeGroup records and makes the instance's cgroup. Only an ordinary user to
// whom none is delegated starts instances without.
func (s *starter) makeGroup(context.Context) error {
	s.state.Memory = s.limits.Memory
	s.state.HostNetwork = s.driver.options.HostNetwork
	limited, err := s.driver.groups.Use()
	if err != nil {
		return limitless(err)
	}
	if !limited {
		return s.spec.Record(s.state)
	}
	s.state.Cgroup = s.driver.groups.Record(s.spec.ID)
	if err := s.spec.Record(s.state); err != nil {
		return fmt.Errorf("record cgroup: %w", err)
	}
	s.inst.group, err = s.driver.groups.Create(s.spec.ID, cgroup.Limits{
		Memory: s.limits.Memory + overhead,
		Pids:   s.limits.Pids + ownThreads,
	})
	if err != nil {
		return limitless(err)
	}
	return nil
}

// limitless refuses a start that would run without its limits. The kernel's
// error is not in its chain: it is about groups, not what a start runs out of.
func limitless(err error) error {
	return faas.Errorf(faas.KindUnavailable, "its limits can't be enforced: %v; %s", err, cgroup.Remedy(err))
}

// openFiles opens everything that the sandbox is handed. It all goes with the
// process, but for the control socket, whose name is in the instance's folder.
func (s *starter) openFiles(context.Context) error {
	null, err := s.open(os.DevNull, unix.O_RDWR)
	if err != nil {
		return err
	}
	if err := s.openDiagnostics(); err != nil {
		return err
	}
	gate, err := s.pipe(&s.gate, false)
	if err != nil {
		return err
	}
	way, err := s.keep(listenTunnel(s.spec.Dir))
	if err != nil {
		return err
	}
	s.process = newProcess(s.spec.ID, null, int(s.inst.diagnostics.Fd()), gate, way)
	booted, err := s.pipe(&s.booted, true)
	if err != nil {
		return err
	}
	s.process.pass("start-sync-fd", booted)
	for _, step := range []func() error{s.passSpec, s.passControl, s.passImage, s.passDisk} {
		if err := step(); err != nil {
			return err
		}
	}
	return s.passOutput(null)
}

func (s *starter) passSpec() error {
	if err := s.passText("spec-fd", s.art.spec); err != nil {
		return err
	}
	return s.passText("pod-init-config-fd", traceConfig())
}

func (s *starter) passControl() error {
	fd, err := s.keep(listenControl(s.spec.Dir))
	if err != nil {
		return err
	}
	s.process.pass("controller-fd", fd)
	return nil
}

func (s *starter) passImage() error {
	fd, err := s.open(s.art.image, unix.O_RDONLY)
	if err != nil {
		return err
	}
	s.process.boot = append(s.process.boot, "--gofer-mount-confs="+rootConf+","+diskConf)
	s.process.pass("io-fds", fd)
	return nil
}

// passDisk makes the file behind the function's writable space. It has no
// name, so that it goes with the last process that holds it.
func (s *starter) passDisk() error {
	fd, err := s.open(s.driver.images.dir, unix.O_TMPFILE|unix.O_RDWR)
	if err != nil {
		return fmt.Errorf("make disk: %w", err)
	}
	s.process.pass("gofer-filestore-fds", fd)
	return nil
}

// passOutput hands over the function's standard files. The descriptor of
// Output is taken without os.File.Fd, which would make the caller's end
// blocking.
func (s *starter) passOutput(null int) error {
	raw, err := s.spec.Output.SyscallConn()
	if err != nil {
		return err
	}
	var out int
	var dupErr error
	err = raw.Control(func(fd uintptr) {
		out, dupErr = s.keep(unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 0))
	})
	if err = errors.Join(err, dupErr); err != nil {
		return fmt.Errorf("duplicate output: %w", err)
	}
	s.process.pass("stdio-fds", null)
	s.process.pass("stdio-fds", out)
	s.process.pass("stdio-fds", out)
	return nil
}

// startProcess forks the sandbox inside its cgroup, records it, and opens its
// gate.
func (s *starter) startProcess(context.Context) error {
	memory := strconv.FormatInt(s.limits.Memory, 10)
	s.process.args = append(s.process.args, s.driver.networkFlag(), "--control-rpc-stop-timeout=0s")
	s.process.boot = append(s.process.boot,
		"--total-memory="+memory, "--total-host-memory="+memory,
		"--cpu-num="+strconv.Itoa(cpus(s.limits.CPUs)), "--product-name=unifaas")
	fork := func(attr *syscall.SysProcAttr) (err error) {
		s.inst.pid, s.inst.pidfd, err = s.process.start(attr)
		return err
	}
	var err error
	if s.inst.group != nil {
		err = s.inst.group.Start(fork)
	} else {
		err = fork(&syscall.SysProcAttr{})
	}
	if err != nil {
		return err
	}
	s.inst.ours = true
	if err := s.inst.enterNetwork(); err != nil {
		return err
	}
	s.state.Pid = s.inst.pid
	if s.state.Started, err = startTime(s.inst.pid); err != nil {
		return err
	}
	if err := s.spec.Record(s.state); err != nil {
		return fmt.Errorf("record process: %w", err)
	}
	_, err = s.gate.Write([]byte{1})
	return err
}

// waitBooted waits for the sandbox kernel, which says so once.
func (s *starter) waitBooted(ctx context.Context) error {
	s.handOver()
	stop := context.AfterFunc(ctx, func() { _ = s.booted.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	var b [1]byte
	_, err := io.ReadFull(s.booted, b[:])
	if err != nil {
		if ctx.Err() != nil {
			return fmt.Errorf("boot sandbox: %w", ctx.Err())
		}
		return fmt.Errorf("boot sandbox: %w", err)
	}
	return nil
}

// startFunction gives the sandbox its loopback device and runs the function.
// The CPU limit comes only now: booting is the platform's work.
func (s *starter) startFunction(ctx context.Context) error {
	if s.inst.group != nil {
		if err := s.inst.group.LimitCPU(s.limits.CPUs); err != nil {
			return fmt.Errorf("limit cpu: %w", err)
		}
	}
	if !s.driver.options.HostNetwork {
		links := boot.CreateLinksAndRoutesArgs{LoopbackLinks: []boot.LoopbackLink{boot.DefaultLoopbackLink}}
		if err := s.inst.control.call(ctx, boot.ContMgrSetNetworkArgs, &links, nil); err != nil {
			return fmt.Errorf("set up loopback: %w", err)
		}
	}
	if err := s.inst.control.call(ctx, boot.ContMgrRootContainerStart, s.spec.ID, nil); err != nil {
		return fmt.Errorf("run %q: %w", s.art.rev.Function.Ref, err)
	}
	return nil
}
