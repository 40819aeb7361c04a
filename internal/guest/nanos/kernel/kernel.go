// Package kernel knows the form of the kernel of Nanos: how it is told from other
// programs, and what has to be changed in it for some monitors.
package kernel

import (
	"bytes"
	"crypto/sha256"
	"debug/elf"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"

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

// WithoutNotes returns a kernel whose notes nobody finds. The kernel of Nanos has
// one by which it is to be entered by Xen's protocol, and monitors that believe
// it (Firecracker from 1.12 on) start a machine that faults at once; by Linux's
// protocol it boots.
func WithoutNotes(kernel []byte) ([]byte, error) {
	if err := assets.CheckELF(kernel); err != nil {
		return nil, err
	}
	if len(kernel) < elfHeaderSize || elf.Class(kernel[elf.EI_CLASS]) != elf.ELFCLASS64 {
		return nil, errors.New("it is no ELF file of 64 bits")
	}
	out := append([]byte(nil), kernel...)
	at := binary.LittleEndian.Uint64(out[elfProgramsAt:])
	size := uint64(binary.LittleEndian.Uint16(out[elfProgramSizeAt:]))
	for range binary.LittleEndian.Uint16(out[elfProgramsNumAt:]) {
		if at+4 > uint64(len(out)) {
			return nil, errors.New("it is cut off in its program headers")
		}
		if elf.ProgType(binary.LittleEndian.Uint32(out[at:])) == elf.PT_NOTE {
			binary.LittleEndian.PutUint32(out[at:], uint32(elf.PT_NULL))
		}
		at += size
	}
	return out, nil
}

// Check tells whether something is a kernel of Nanos: a program for this
// processor that knows the file system's magic number.
func Check(content []byte) error {
	if err := assets.CheckELF(content); err != nil {
		return err
	}
	if !bytes.Contains(content, []byte("NVMTFS")) {
		return errors.New("it is an ELF file, but no kernel of Nanos")
	}
	return nil
}

// Patched returns the path of a copy of a kernel, below dir, that can be booted by
// Linux's protocol. It is made unless it is there. All of f is read.
func Patched(dir string, f *os.File) (string, error) {
	content, err := io.ReadAll(io.NewSectionReader(f, 0, math.MaxInt64))
	if err != nil {
		return "", err
	}
	if content, err = WithoutNotes(content); err != nil {
		return "", fmt.Errorf("patch kernel %q: %w", f.Name(), err)
	}
	sum := sha256.Sum256(content)
	to := filepath.Join(dir, hex.EncodeToString(sum[:16])+".elf")
	return to, made.Ensure(to, func(f *os.File) error {
		_, err := f.Write(content)
		return err
	})
}
