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
	"github.com/unifaas/unifaas/internal/guest/linux"
	"github.com/unifaas/unifaas/internal/guest/linux/control"
	"github.com/unifaas/unifaas/internal/guest/linux/kernel"
	"github.com/unifaas/unifaas/internal/guest/linux/plan"
	"github.com/unifaas/unifaas/internal/host/kvm"
	"github.com/unifaas/unifaas/internal/host/tapnet"
	"github.com/unifaas/unifaas/internal/vmm"
	"github.com/unifaas/unifaas/internal/vmm/qemu"
)

// controlPort is where the guest's first process reports.
const controlPort = 1

// A Machine starts QEMU's microvm with a command line, as a script would: with
// the kernel and the image that the platform makes for the same function, and
// a tap that is there already.
type Machine struct {
	exe, dir string
	rev      *faas.Revision
	image    *linux.Image
	caps     vmm.Capabilities // by what the platform would run it, too
	next     atomic.Int64
}

// NewMachine returns a Machine of rev that boots the default of the kernels in a
// folder.
func NewMachine(ctx context.Context, dir, kernels string, rev *faas.Revision) (*Machine, error) {
	exe, err := find(qemu.Program, "apt-get install qemu-system-x86")
	if err != nil {
		return nil, err
	}
	k, err := kernel.NewStore(kernels).Default()
	if err != nil {
		return nil, err
	}
	image, err := linux.MakeImage(ctx, rev, linux.ImageOptions{
		Dir: filepath.Join(dir, "images"), Kernel: k, Drivers: []kernel.Driver{kernel.DriverMMIO, kernel.DriverNet},
	})
	if err != nil {
		return nil, err
	}
	caps := qemu.New(qemu.Microvm, qemu.Options{KVM: kvm.Usable}).Probe(ctx)
	if !caps.Works {
		return nil, errors.New(caps.Reason)
	}
	return &Machine{exe: exe, dir: dir, rev: rev, image: image, caps: caps}, nil
}

// Close has nothing to remove.
func (*Machine) Close() error { return nil }

type machine struct {
	of      *Machine
	id      string
	network *tapnet.Network
	guest   *control.Guest
	cmd     *exec.Cmd // nil: not started
	log     *os.File
}

// Prepare makes the machine's network and listens for its guest.
func (m *Machine) Prepare() (Instance, error) {
	i := &machine{of: m, id: fmt.Sprintf("bench-%d-%06d", os.Getpid(), m.next.Add(1))}
	var err error
	if i.network, err = tapnet.New(tapnet.DefaultPlan()); err != nil {
		return nil, err
	}
	listener, err := i.network.Listen(controlPort)
	if err == nil {
		i.log, err = os.Create(filepath.Join(m.dir, i.id+".log"))
	}
	if err != nil {
		i.network.Close()
		return nil, err
	}
	i.guest = control.Listen(listener, control.Options{ID: i.id, Output: i.log})
	return i, nil
}

func (i *machine) cmdline() string {
	p := i.network.Plan()
	m := linux.Machine{Console: true, NoPCI: true, Extra: []string{i.of.caps.Cmdline}, Instance: plan.Instance{
		ID: i.id, Address: p.Guest.As4(), Prefix: p.Gateway.Bits(), Gateway: p.Gateway.Addr().As4(), Control: controlPort, Off: plan.OffPower,
	}}
	copy(m.Instance.GatewayMAC[:], p.GatewayMAC)
	return linux.Cmdline(m)
}

// Start runs QEMU and asks the function as soon as its guest says that it
// listens.
func (i *machine) Start(ctx context.Context, path string) (time.Duration, error) {
	tap, err := i.network.Open()
	if err != nil {
		return 0, err
	}
	defer func() { _ = tap.Close() }()
	kernel := i.of.image.Kernel.ELF()
	if !i.of.image.Kernel.PVH {
		kernel = i.of.image.Kernel.BzImage()
	}
	args := []string{
		"-M", "microvm,acpi=on,pit=off,pic=off,rtc=on", "-accel", string(i.of.caps.Accelerator), "-cpu", map[vmm.Accelerator]string{vmm.KVM: "host", vmm.TCG: "max"}[i.of.caps.Accelerator], "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
		"-m", strconv.FormatInt(i.of.rev.Function.Limits.Memory>>20, 10), "-serial", "stdio",
		"-kernel", kernel, "-initrd", i.of.image.Initrd, "-append", i.cmdline(),
		"-netdev", "tap,id=net,fd=3", "-device", "virtio-net-device,netdev=net,mac=" + i.network.Plan().GuestMAC.String(),
		"-object", "rng-random,id=rng,filename=/dev/urandom", "-device", "virtio-rng-device,rng=rng",
	}
	if i.of.image.Disk != "" {
		args = append(args, "-drive", "id=disk,file="+i.of.image.Disk+",format=raw,if=none,readonly=on", "-device", "virtio-blk-device,drive=disk")
	}
	cmd := exec.Command(i.of.exe, args...)
	cmd.ExtraFiles, cmd.Stdout, cmd.Stderr = []*os.File{tap}, i.log, i.log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	started := time.Now()
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	i.cmd = cmd
	select {
	case <-i.guest.Ready():
	case <-ctx.Done():
		return 0, fmt.Errorf("start bare QEMU: %w: %s", ctx.Err(), lastWords(i.log.Name()))
	}
	if err := i.ask(ctx, path); err != nil {
		return 0, fmt.Errorf("ask the function in bare QEMU: %w", err)
	}
	return time.Since(started), nil
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
	err := errors.Join(i.guest.Close(), i.log.Close(), os.Remove(i.log.Name()))
	i.network.Close()
	return err
}
