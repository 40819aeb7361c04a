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

// supplyMachines adds a folder of kernels for Linux guests inside of the guest:
// what unifaas kernel has put where the environment says, or else the guest's
// own kernel, with the modules that its guests need.
func supplyMachines(ctx context.Context, b builder) (supply, error) {
	s, err := supplyFirecracker(ctx, b)
	if err != nil {
		return s, err
	}
	dir := os.Getenv("UNIFAAS_TEST_KERNELS")
	if dir == "" {
		dir = filepath.Join(b.out, "kernels")
		store := kernels.NewStore(dir)
		if _, err := store.Default(); err != nil {
			if _, err := store.Install(ctx); err != nil {
				return s, err
			}
		}
	}
	err = filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err == nil && e.Type().IsRegular() {
			s.files["/kernels"+strings.TrimPrefix(path, dir)] = path
		}
		return err
	})
	s.env = append(s.env, "UNIFAAS_TEST_KERNELS=/kernels", "TMPDIR=/firecracker")
	return s, err
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

// nanosVariable names the folder of a release of Nanos.
const nanosVariable = "UNIFAAS_NANOS_DIR"

// supplyNanos adds a release of Nanos to a Firecracker, which it needs, too.
func supplyNanos(ctx context.Context, b builder) (supply, error) {
	if os.Getenv(firecrackerVariable) == "" {
		return supply{}, fmt.Errorf("%s names a release of Nanos; name a Firecracker to run it by %s", nanosVariable, firecrackerVariable)
	}
	s, err := supplyFirecracker(ctx, b)
	if err != nil {
		return s, err
	}
	for _, name := range []string{"kernel.img", "boot.img"} {
		s.files["/nanos/"+name] = filepath.Join(os.Getenv(nanosVariable), name)
	}
	s.env = append(s.env, nanosVariable+"=/nanos", "TMPDIR=/firecracker")
	return s, nil
}
