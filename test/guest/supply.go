package main

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	kernels "github.com/unifaas/unifaas/internal/guest/linux/kernel"
)

// cpuConfig hides from the guest's guest what an emulated processor can't do
// in it: XSAVE, OSXSAVE, and AVX, which needs them (bits 26 to 28 of ECX).
const cpuConfig = `{"cpuid_modifiers":[{"leaf":"0x1","subleaf":"0x0","flags":0,
	"modifiers":[{"register":"ecx","bitmap":"0bxxx000xxxxxxxxxxxxxxxxxxxxxxxxxx"}]}]}`

// firecrackerVariable names a static Firecracker, with its jailer beside it.
const firecrackerVariable = "UNIFAAS_FIRECRACKER"

// supplyFirecracker puts a Firecracker of the host's into the guest, the
// jailer beside it, and the guest's own kernel for a guest inside of it.
func supplyFirecracker(ctx context.Context, b builder) (s supply, err error) {
	program := os.Getenv(firecrackerVariable)
	config := filepath.Join(b.out, "cpu-config.json")
	if err := os.WriteFile(config, []byte(cpuConfig), 0o644); err != nil {
		return s, err
	}
	kernel := filepath.Join(b.out, "vmlinux")
	if err := extractKernel(b.kernel.image, kernel); err != nil {
		return s, fmt.Errorf("extract kernel %q: %w", b.kernel.image, err)
	}
	s.files = map[string]string{
		"/firecracker/firecracker": program, "/firecracker/jailer": filepath.Join(filepath.Dir(program), "jailer"),
		"/firecracker/vmlinux": kernel, "/firecracker/cpu-config.json": config,
	}
	s.env = []string{
		"UNIFAAS_TEST_DIR=/firecracker", // a jail can't be where /tmp is: that is mounted nodev
		firecrackerVariable + "=/firecracker/firecracker", "UNIFAAS_TEST_VMLINUX=/firecracker/vmlinux",
		"UNIFAAS_TEST_CPU_CONFIG=/firecracker/cpu-config.json",
	}
	return s, nil
}

// supplyMachines is supplyFirecracker with kernels for Linux guests inside of
// the guest.
func supplyMachines(ctx context.Context, b builder) (supply, error) {
	s, err := supplyFirecracker(ctx, b)
	if err != nil {
		return s, err
	}
	s.env = append(s.env, "TMPDIR=/firecracker")
	return s, s.addKernels(ctx, b)
}

// supplyQEMU is what the host's QEMU reads, with kernels for Linux guests.
func supplyQEMU(ctx context.Context, b builder) (supply, error) {
	s, err := supplyROMs()
	if err != nil {
		return s, err
	}
	return s, s.addKernels(ctx, b)
}

// supplyROMs is what the host's QEMU reads.
func supplyROMs() (supply, error) {
	s := supply{files: map[string]string{}}
	for _, pattern := range []string{"/usr/share/seabios/bios*.bin", "/usr/share/qemu/*boot*", "/usr/share/qemu/*v*.bin"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			return s, err
		}
		for _, file := range files {
			s.files[file] = file
		}
	}
	return s, nil
}

// addKernels adds a folder of kernels: what unifaas kernel has put where the
// environment says, or else the guest's own, with the modules that its guests
// need.
func (s *supply) addKernels(ctx context.Context, b builder) error {
	dir := os.Getenv("UNIFAAS_TEST_KERNELS")
	if dir == "" {
		dir = filepath.Join(b.out, "kernels")
		store := kernels.NewStore(dir)
		if _, err := store.Default(); err != nil {
			if _, err := store.Install(ctx); err != nil {
				return err
			}
		}
	}
	s.env = append(s.env, "UNIFAAS_TEST_KERNELS=/kernels")
	return filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err == nil && e.Type().IsRegular() {
			s.files["/kernels"+strings.TrimPrefix(path, dir)] = path
		}
		return err
	})
}

// extractKernel writes the ELF kernel that is packed in a bzImage.
func extractKernel(image, to string) error {
	data, err := os.ReadFile(image)
	if err != nil {
		return err
	}
	_, vmlinux, err := kernels.Inspect(data)
	if err != nil {
		return err
	}
	return os.WriteFile(to, vmlinux, 0o644)
}

// unikernelVariables name the kernels of unikernels: a folder, and a file.
var unikernelVariables = map[string]string{"nanos": "UNIFAAS_NANOS_DIR", "osv": "UNIFAAS_OSV_LOADER"}

// supplyNanos adds a release of Nanos to a monitor.
func supplyNanos(ctx context.Context, b builder, monitor string) (supply, error) {
	s, err := supplyMonitor(ctx, b, monitor)
	if err != nil {
		return s, err
	}
	variable := unikernelVariables["nanos"]
	for _, name := range []string{"kernel.img", "boot.img"} {
		s.files["/nanos/"+name] = filepath.Join(os.Getenv(variable), name)
	}
	s.env = append(s.env, variable+"=/nanos")
	return s, nil
}

// supplyOSv adds OSv's kernel to a monitor.
func supplyOSv(ctx context.Context, b builder, monitor string) (supply, error) {
	s, err := supplyMonitor(ctx, b, monitor)
	if err != nil {
		return s, err
	}
	variable := unikernelVariables["osv"]
	const loader = "/osv/loader-stripped.elf"
	s.files[loader] = os.Getenv(variable)
	s.env = append(s.env, variable+"="+loader)
	return s, nil
}

// supplyMonitor is what a monitor needs that runs guests other than Linux.
func supplyMonitor(ctx context.Context, b builder, monitor string) (supply, error) {
	if monitor == "qemu" {
		return supplyROMs()
	}
	if os.Getenv(firecrackerVariable) == "" {
		return supply{}, fmt.Errorf("name a Firecracker by %s", firecrackerVariable)
	}
	s, err := supplyFirecracker(ctx, b)
	s.env = append(s.env, "TMPDIR=/firecracker")
	return s, err
}
