package peers

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/unifaas/unifaas/internal/faas"
	"github.com/unifaas/unifaas/internal/guest"
	"github.com/unifaas/unifaas/internal/guest/linux/control"
	"github.com/unifaas/unifaas/internal/host/kvm"
	"github.com/unifaas/unifaas/internal/host/tapnet"
	"github.com/unifaas/unifaas/internal/vmm"
	"github.com/unifaas/unifaas/internal/vmm/qemu"
)

const (
	// controlPort is where a guest with an agent reports.
	controlPort = 1
	// patience is how long a guest without one is given for a connection: its
	// network is not up at first, and what is lost is sent again only after a
	// second.
	patience = 20 * time.Millisecond
)

// A Machine starts QEMU with a command line, as a script would: with the kernel
// and the disk that the platform makes for the same function, a copy of the
// disk where the guest writes to it, and a tap, which are there already.
type Machine struct {
	exe, dir string
	kind     qemu.Type
	rev      *faas.Revision
	image    *guest.Image
	caps     vmm.Capabilities // by what the platform would run it, too
	next     atomic.Int64
}

// NewMachine returns a Machine of rev that boots a guest system on a kind of
// QEMU's machines.
func NewMachine(ctx context.Context, dir string, kind qemu.Type, system guest.System, rev *faas.Revision) (*Machine, error) {
	exe, err := find(qemu.Program, "apt-get install qemu-system-x86")
	if err != nil {
		return nil, err
	}
	monitor := qemu.New(kind, qemu.Options{KVM: kvm.Usable})
	caps := monitor.Probe(ctx)
	if !caps.Works {
		return nil, errors.New(caps.Reason)
	}
	image, err := system.Prepare(ctx, rev, guest.On(monitor.Name(), caps))
	if err != nil {
		return nil, err
	}
	return &Machine{exe: exe, dir: dir, kind: kind, rev: rev, image: image, caps: caps}, nil
}

// Close has nothing to remove.
func (*Machine) Close() error { return nil }

type machine struct {
	of      *Machine
	id      string
	network *tapnet.Network
	agent   *control.Guest // nil: the guest has none
	disks   []string
	cmd     *exec.Cmd // nil: not started
	log     *os.File
}

// Prepare makes the machine's network and its copies of disks, and listens for
// its guest.
func (m *Machine) Prepare() (Instance, error) {
	i := &machine{of: m, id: fmt.Sprintf("bench-%d-%06d", os.Getpid(), m.next.Add(1))}
	var err error
	if i.network, err = tapnet.New(tapnet.DefaultPlan()); err != nil {
		return nil, err
	}
	if i.log, err = os.Create(filepath.Join(m.dir, i.id+".log")); err == nil {
		err = errors.Join(i.listen(), i.copyDisks())
	}
	if err != nil {
		return nil, errors.Join(err, i.Delete())
	}
	return i, nil
}

func (i *machine) listen() error {
	if !i.of.image.Agent {
		return nil
	}
	listener, err := i.network.Listen(controlPort)
	if err != nil {
		return err
	}
	i.agent = control.Listen(listener, control.Options{ID: i.id, Output: i.log})
	return nil
}

func (i *machine) copyDisks() error {
	for n, disk := range i.of.image.Disks {
		path := disk.Path
		if disk.Private {
			path = filepath.Join(i.of.dir, fmt.Sprintf("%s-%d", i.id, n))
			if err := i.copyDisk(disk, path); err != nil {
				return err
			}
		}
		i.disks = append(i.disks, path)
	}
	return nil
}

func (i *machine) copyDisk(disk guest.Disk, path string) error {
	// As a script would: sparse files stay sparse.
	if out, err := exec.Command("cp", "--sparse=always", "--reflink=auto", disk.Path, path).CombinedOutput(); err != nil {
		return fmt.Errorf("copy disk: %w: %s", err, out)
	}
	if disk.Patch == nil {
		return nil
	}
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	return errors.Join(disk.Patch(file, i.instance()), file.Close())
}

func (i *machine) instance() guest.Instance {
	p := i.network.Plan()
	return guest.Instance{ID: i.id, Guest: p.Guest, Gateway: p.Gateway, GuestMAC: p.GuestMAC, GatewayMAC: p.GatewayMAC, Control: controlPort}
}

// arguments are QEMU's, for a tap at descriptor 3.
func (i *machine) arguments() []string {
	image, bus := i.of.image, "pci"
	args := []string{"-M", "q35"}
	if i.of.kind == qemu.Microvm {
		args[1], bus = "microvm,acpi=on,pit=off,pic=off,rtc=on", "device"
	}
	args = append(args, "-accel", string(i.of.caps.Accelerator),
		"-cpu", map[vmm.Accelerator]string{vmm.KVM: "host", vmm.TCG: "max"}[i.of.caps.Accelerator],
		"-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-serial", "stdio",
		"-m", strconv.FormatInt(i.of.rev.Function.Limits.Memory>>20, 10),
		"-netdev", "tap,id=net,fd=3", "-device", "virtio-net-"+bus+",netdev=net,mac="+i.network.Plan().GuestMAC.String(),
		"-object", "rng-random,id=rng,filename=/dev/urandom", "-device", "virtio-rng-"+bus+",rng=rng")
	if image.Kernel != "" {
		args = append(args, "-kernel", image.Kernel)
	}
	if image.Initrd != "" {
		args = append(args, "-initrd", image.Initrd)
	}
	if image.Cmdline != nil {
		args = append(args, "-append", image.Cmdline(i.instance()))
	}
	for n, path := range i.disks {
		readOnly := "off"
		if !image.Disks[n].Private {
			readOnly = "on"
		}
		id := "disk" + strconv.Itoa(n)
		args = append(args, "-drive", "id="+id+",file="+path+",format=raw,if=none,readonly="+readOnly, "-device", "virtio-blk-"+bus+",drive="+id)
	}
	return args
}

// Start runs QEMU and asks the function as soon as its guest says that it
// listens, or accepts a connection.
func (i *machine) Start(ctx context.Context, path string) (time.Duration, error) {
	tap, err := i.network.Open()
	if err != nil {
		return 0, err
	}
	defer func() { _ = tap.Close() }()
	cmd := exec.Command(i.of.exe, i.arguments()...)
	cmd.ExtraFiles, cmd.Stdout, cmd.Stderr = []*os.File{tap}, i.log, i.log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	started := time.Now()
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	i.cmd = cmd
	if err := i.await(ctx); err != nil {
		return 0, fmt.Errorf("start bare QEMU: %w: %s", err, lastWords(i.log.Name()))
	}
	if err := i.ask(ctx, path); err != nil {
		return 0, fmt.Errorf("ask the function in bare QEMU: %w", err)
	}
	return time.Since(started), nil
}

// await returns once the function accepts connections.
func (i *machine) await(ctx context.Context) error {
	if i.agent != nil {
		select {
		case <-i.agent.Ready():
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	for pause := firstPoll; ; pause = min(pause*5/4, pollEvery) {
		try, cancel := context.WithTimeout(ctx, patience)
		conn, err := i.network.Dial(try, uint16(i.of.rev.Function.Port))
		cancel()
		if err == nil {
			return conn.Close()
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		}
	}
}

func (i *machine) ask(ctx context.Context, path string) error {
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return i.network.Dial(ctx, uint16(i.of.rev.Function.Port))
	}}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://function"+path, http.NoBody)
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil || resp.StatusCode != http.StatusOK {
		return errors.Join(err, fmt.Errorf("it answered %s", resp.Status))
	}
	return nil
}

// Kill ends QEMU.
func (i *machine) Kill() error {
	if i.cmd == nil {
		return nil
	}
	return i.cmd.Process.Kill()
}

// Delete ends all of the machine.
func (i *machine) Delete() error {
	if i.cmd != nil {
		_ = i.cmd.Process.Kill() // it may have ended
		_ = i.cmd.Wait()         // it was killed
	}
	var errs []error
	if i.agent != nil {
		errs = append(errs, i.agent.Close())
	}
	if i.log != nil {
		errs = append(errs, i.log.Close(), os.Remove(i.log.Name()))
	}
	for n, path := range i.disks {
		if i.of.image.Disks[n].Private {
			errs = append(errs, os.Remove(path))
		}
	}
	i.network.Close()
	return errors.Join(errs...)
}
