package nanos

import (
	"debug/elf"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/unifaas/unifaas/internal/guest/assets"
	"github.com/unifaas/unifaas/internal/guest/made"
)

// Offsets in the header of an ELF file of 64 bits and in a program header (System
// V Application Binary Interface, chapters 4 and 5).
const (
	elfHeaderSize    = 64
	elfProgramsAt    = 32 // 8 bytes: where the program headers are
	elfProgramSizeAt = 54 // 2 bytes: of one
	elfProgramsNumAt = 56 // 2 bytes
)

// withoutNotes returns a kernel whose notes nobody finds. The kernel of Nanos has
// one by which it is to be entered by Xen's protocol, and monitors that believe
// it (Firecracker from 1.12 on) start a machine that faults at once; by Linux's
// protocol it boots.
func withoutNotes(kernel []byte) ([]byte, error) {
	if err := assets.CheckELF(kernel); err != nil {
		return nil, err
	}
	if len(kernel) < elfHeaderSize || elf.Class(kernel[elf.EI_CLASS]) != elf.ELFCLASS64 {
		return nil, fmt.Errorf("it is no ELF file of 64 bits")
	}
	out := append([]byte(nil), kernel...)
	at := binary.LittleEndian.Uint64(out[elfProgramsAt:])
	size := uint64(binary.LittleEndian.Uint16(out[elfProgramSizeAt:]))
	for range binary.LittleEndian.Uint16(out[elfProgramsNumAt:]) {
		if at+4 > uint64(len(out)) {
			return nil, fmt.Errorf("it is cut off in its program headers")
		}
		if elf.ProgType(binary.LittleEndian.Uint32(out[at:])) == elf.PT_NOTE {
			binary.LittleEndian.PutUint32(out[at:], uint32(elf.PT_NULL))
		}
		at += size
	}
	return out, nil
}

// patchedKernel returns the path of a copy of a set's kernel that can be booted
// by Linux's protocol.
func (s *System) patchedKernel(set *assets.Set) (string, error) {
	path := filepath.Join(s.kernels, strings.TrimPrefix(set.Digest, "sha256:")[:32]+".elf")
	err := made.Ensure(path, func(f *os.File) error {
		kernel, err := os.ReadFile(set.Path(kernelFile))
		if err != nil {
			return err
		}
		if kernel, err = withoutNotes(kernel); err != nil {
			return err
		}
		_, err = f.Write(kernel)
		return err
	})
	if err != nil {
		return "", fmt.Errorf("patch kernel %q: %w", set.Path(kernelFile), err)
	}
	return path, nil
}
