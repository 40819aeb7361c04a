package firecracker

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"

	"github.com/unifaas/unifaas/internal/vmm"
	"github.com/unifaas/unifaas/internal/vmm/firecracker/api"
)

// The monitor's own options.
const (
	// optionCPU is Firecracker's cpu-config: a table, or the path of a file.
	optionCPU = "cpu-config"
	// optionPCI puts the devices on a PCI bus: true or false.
	optionPCI = "pci"
)

// settings are a Config's options, read.
type settings struct {
	cpu json.RawMessage // nil for none
	pci bool
}

const (
	mib     = 1 << 20
	maxCPUs = 32
	// maxCPUConfig is what Firecracker takes of a request's body by default.
	maxCPUConfig = 51200
)

var validID = regexp.MustCompile(`^[a-z0-9-]{1,40}$`)

// check refuses what Firecracker would, or would understand otherwise.
func check(c vmm.Config) error {
	switch {
	case !validID.MatchString(c.ID):
		return fmt.Errorf("%q is no machine's id: 1 to 40 lower-case letters, digits and hyphens", c.ID)
	case c.Boot == vmm.BootDisk:
		return errors.New("firecracker boots a kernel; it has no BIOS to boot from a disk")
	case c.Boot != vmm.BootLinux && c.Boot != vmm.BootPVH:
		return fmt.Errorf("there is no way to boot that is called %q", c.Boot)
	case c.Kernel == "":
		return errors.New("firecracker needs a kernel")
	case c.Memory < mib || c.Memory%mib != 0:
		return fmt.Errorf("a memory of %d bytes: firecracker takes multiples of 1 MiB", c.Memory)
	case c.CPUs < 1 || c.CPUs > maxCPUs:
		return fmt.Errorf("%d processors: firecracker takes 1 to %d", c.CPUs, maxCPUs)
	case c.Vsock != 0 && c.Vsock < 3:
		return fmt.Errorf("the vsock context id %d is reserved", c.Vsock)
	case c.Spawn == nil:
		return errors.New("there is no way to start firecracker")
	case os.Geteuid() == 0 && (c.UID <= 0 || c.GID <= 0):
		return errors.New("firecracker is not run as root: it needs a user and a group of its own")
	}
	return nil
}

func readSettings(options map[string]any) (s settings, err error) {
	for name, value := range options {
		switch name {
		case optionPCI:
			on, ok := value.(bool)
			if !ok {
				return s, fmt.Errorf("option %q of firecracker is true or false, not %v", name, value)
			}
			s.pci = on
		case optionCPU:
			if s.cpu, err = readCPUConfig(value); err != nil {
				return s, fmt.Errorf("option %q of firecracker: %w", name, err)
			}
		default:
			return s, fmt.Errorf("firecracker has no option %q: it has %q and %q", name, optionCPU, optionPCI)
		}
	}
	return s, nil
}

func readCPUConfig(value any) (json.RawMessage, error) {
	if path, ok := value.(string); ok {
		f, err := os.Open(path)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		text, err := io.ReadAll(io.LimitReader(f, maxCPUConfig+1))
		if err != nil {
			return nil, err
		}
		return checkCPUConfig(text)
	}
	if _, ok := value.(map[string]any); !ok {
		return nil, fmt.Errorf("it is a table or the path of a file, not %v", value)
	}
	text, err := json.Marshal(value)
	if err != nil {
		return nil, err
	}
	return checkCPUConfig(text)
}

func checkCPUConfig(text []byte) (json.RawMessage, error) {
	var table map[string]json.RawMessage
	if len(text) > maxCPUConfig {
		return nil, fmt.Errorf("it is larger than %d bytes", maxCPUConfig)
	}
	if err := json.Unmarshal(text, &table); err != nil {
		return nil, fmt.Errorf("it is no JSON object: %w", err)
	}
	var compact bytes.Buffer
	err := json.Compact(&compact, text)
	return compact.Bytes(), err
}

// suits tells whether a version can do what is asked of it.
func suits(v version, c vmm.Config, s settings) error {
	switch {
	case !v.has(oldest):
		return fmt.Errorf("firecracker %s is too old: %s is needed", v.text, oldest.text)
	case s.pci && !v.has(pci):
		return fmt.Errorf("firecracker %s has no PCI bus: option %q needs %s", v.text, optionPCI, pci.text)
	case c.Boot == vmm.BootPVH && !v.has(pvh):
		return fmt.Errorf("firecracker %s can't boot by PVH: %s is needed", v.text, pvh.text)
	case v.has(bzImage):
		return nil
	}
	compressed, err := isBzImage(c.Kernel)
	if err == nil && compressed {
		err = fmt.Errorf("kernel %q is compressed (a bzImage), which firecracker %s can't boot: it needs the ELF file (vmlinux) that is packed in it", c.Kernel, v.text)
	}
	return err
}

// isBzImage looks for "HdrS" at 0x202 (Linux, Documentation/arch/x86/boot.rst)
// in a file that is no ELF.
func isBzImage(path string) (bool, error) {
	f, err := os.Open(path)
	if err != nil {
		return false, err
	}
	defer f.Close()
	head := make([]byte, 0x206)
	n, err := io.ReadFull(f, head)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = nil
	}
	return n == len(head) && string(head[0x202:]) == "HdrS" && !bytes.HasPrefix(head, []byte("\x7fELF")), err
}

// configure makes the requests that describe a machine, and the one that runs
// it. Firecracker could read the same from a file as it starts; but then what
// it refuses would be a line in a log, and its version unknown. All of them
// take less than a millisecond.
func configure(ctx context.Context, client *api.Client, c vmm.Config, s settings) error {
	steps := []func() error{
		func() error {
			return client.PutMachineConfig(ctx, api.MachineConfig{VcpuCount: c.CPUs, MemSizeMib: c.Memory / mib})
		},
		func() error {
			if s.cpu == nil {
				return nil
			}
			return client.PutCPUConfig(ctx, s.cpu)
		},
		func() error {
			b := api.BootSource{KernelImagePath: kernelName, BootArgs: c.Cmdline}
			if c.Initrd != "" {
				b.InitrdPath = initrdName
			}
			return client.PutBootSource(ctx, b)
		},
		func() error { return putDevices(ctx, client, c) },
		func() error {
			if c.NoEntropy {
				return nil
			}
			return client.PutEntropy(ctx)
		},
		func() error { return client.StartInstance(ctx) },
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

func putDevices(ctx context.Context, client *api.Client, c vmm.Config) error {
	for i, d := range c.Disks {
		err := client.PutDrive(ctx, api.Drive{
			// None is a root device: that would change their order and the
			// command line, which are the guest's business.
			DriveID: diskName(i), PathOnHost: diskName(i), IsReadOnly: d.ReadOnly,
			RateLimiter: limiter(d.Bandwidth, d.Operations),
		})
		if err != nil {
			return err
		}
	}
	for i, n := range c.NICs {
		err := client.PutNetworkInterface(ctx, api.NetworkInterface{
			IfaceID: nicName(i), HostDevName: n.Tap, GuestMAC: n.MAC.String(),
			RxRateLimiter: limiter(n.Bandwidth, 0), TxRateLimiter: limiter(n.Bandwidth, 0),
		})
		if err != nil {
			return err
		}
	}
	if c.Vsock == 0 {
		return nil
	}
	return client.PutVsock(ctx, api.Vsock{GuestCID: c.Vsock, UDSPath: vsockName})
}

// refillTime is of every bucket, so that its size is a rate per second. A
// device that was idle may use a second's worth at once.
const refillTime = 1000

// limiter bounds bytes and operations per second; 0 is unbounded.
func limiter(bandwidth, operations int64) *api.RateLimiter {
	if bandwidth == 0 && operations == 0 {
		return nil
	}
	bucket := func(n int64) *api.TokenBucket {
		if n == 0 {
			return nil
		}
		return &api.TokenBucket{Size: n, RefillTime: refillTime}
	}
	return &api.RateLimiter{Bandwidth: bucket(bandwidth), Ops: bucket(operations)}
}

// load makes the requests that restore a machine from its home's snapshot.
func load(ctx context.Context, client *api.Client, v version, c vmm.Config) error {
	s := api.SnapshotLoad{
		SnapshotPath: stateName,
		MemBackend:   api.MemoryBackend{BackendType: api.MemoryFile, BackendPath: memoryName},
		ResumeVM:     true,
	}
	// An older version opens the taps that the snapshot names.
	if v.has(overrides) {
		for i, n := range c.NICs {
			s.NetworkOverrides = append(s.NetworkOverrides, api.NetworkOverride{IfaceID: nicName(i), HostDevName: n.Tap})
		}
	}
	return client.LoadSnapshot(ctx, s)
}

// arguments are Firecracker's, but for its id.
func (s settings) arguments() []string {
	args := []string{"--api-sock", apiName, "--log-path", logName, "--level", "Info", "--show-level"}
	if s.pci {
		args = append(args, "--enable-pci")
	}
	return slices.Clip(args)
}
