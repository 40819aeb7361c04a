package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
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
	if err := extractKernel(ctx, b.kernel.image, kernel); err != nil {
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

// Where a bzImage's header says what is packed in it (Linux,
// Documentation/arch/x86/boot.rst).
const (
	setupSectors  = 0x1f1
	payloadOffset = 0x248
	payloadLength = 0x24c
)

// unpackers are the programs that unpack a kernel, by how the packed begins.
var unpackers = map[string][]string{
	"\xfd7zXZ\x00":     {"xz", "--single-stream", "-dc"},
	"\x28\xb5\x2f\xfd": {"zstd", "-dcq"},
	"\x1f\x8b":         {"gzip", "-dc"},
	"\x02\x21\x4c\x18": {"lz4", "-dc"},
}

// extractKernel writes the ELF kernel that is packed in a bzImage.
func extractKernel(ctx context.Context, image, to string) error {
	text, err := os.ReadFile(image)
	if err != nil {
		return err
	}
	if len(text) < 0x250 || string(text[0x202:0x206]) != "HdrS" {
		return errors.New("it is no bzImage")
	}
	at := (int64(text[setupSectors])+1)*512 + int64(binary.LittleEndian.Uint32(text[payloadOffset:]))
	length := int64(binary.LittleEndian.Uint32(text[payloadLength:]))
	if at+length > int64(len(text)) {
		return errors.New("its payload is not in it")
	}
	packed := text[at : at+length]
	for beginning, unpacker := range unpackers {
		if !bytes.HasPrefix(packed, []byte(beginning)) {
			continue
		}
		cmd := exec.CommandContext(ctx, unpacker[0], unpacker[1:]...)
		cmd.Stdin = bytes.NewReader(packed)
		// The four bytes of the length that follow are no part of the packed.
		out, err := cmd.Output()
		if !bytes.HasPrefix(out, []byte("\x7fELF")) {
			return fmt.Errorf("unpack by %s: %w", unpacker[0], errors.Join(errors.New("what came out is no ELF"), err))
		}
		return os.WriteFile(to, out, 0o644)
	}
	return errors.New("how it is packed is not known")
}
