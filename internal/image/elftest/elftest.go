// Package elftest writes small ELF files for tests. They are well-formed as
// far as a dynamic linker's search goes, and can't be run.
package elftest

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"runtime"
	"strings"
	"testing"
)

// A File says what an ELF file holds. Its zero value is a static program for
// this machine.
type File struct {
	Machine elf.Machine // default: this machine's
	Type    elf.Type    // default: ET_EXEC
	Interp  string
	Needed  []string
	RPath   string
	RunPath string
	Flags1  elf.DynFlag1
	Payload string // whatever; makes the content differ
	Library bool   // there is nothing to begin with
}

const (
	headerSize  = 64
	programSize = 56
)

// Bytes returns the file's content.
func (f File) Bytes(t testing.TB) []byte {
	t.Helper()
	if f.Machine == 0 {
		f.Machine = map[string]elf.Machine{
			"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64, "riscv64": elf.EM_RISCV,
		}[runtime.GOARCH]
	}
	if f.Type == 0 {
		f.Type = elf.ET_EXEC
	}
	body := f.body()
	programs := []elf.Prog64{{Type: uint32(elf.PT_LOAD), Flags: uint32(elf.PF_R), Filesz: body.end(), Memsz: body.end(), Align: 4096}}
	if f.Interp != "" {
		programs = append(programs, elf.Prog64{Type: uint32(elf.PT_INTERP), Off: body.interp, Filesz: uint64(len(f.Interp) + 1)})
	}
	if len(body.dynamic) > 0 {
		programs = append(programs, elf.Prog64{Type: uint32(elf.PT_DYNAMIC), Off: body.dynamicAt(), Filesz: uint64(len(body.dynamic))})
	}
	var b bytes.Buffer
	header := elf.Header64{
		Type: uint16(f.Type), Machine: uint16(f.Machine), Version: 1, Phoff: headerSize, Ehsize: headerSize,
		Phentsize: programSize, Phnum: uint16(len(programs)), Entry: headerSize,
	}
	if f.Library {
		header.Entry = 0
	}
	copy(header.Ident[:], elf.ELFMAG)
	header.Ident[elf.EI_CLASS], header.Ident[elf.EI_DATA], header.Ident[elf.EI_VERSION] = byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), 1
	for _, part := range []any{header, programs} {
		if err := binary.Write(&b, binary.LittleEndian, part); err != nil {
			t.Fatal(err)
		}
	}
	b.Write(make([]byte, bodyAt-b.Len()))
	b.WriteString(body.strings)
	b.Write(body.dynamic)
	b.WriteString(f.Payload)
	return b.Bytes()
}

// bodyAt is where the strings begin, behind up to three program headers.
const bodyAt = headerSize + 4*programSize

type body struct {
	strings string // padded to 8
	interp  uint64
	dynamic []byte
}

func (b *body) dynamicAt() uint64 { return bodyAt + uint64(len(b.strings)) }
func (b *body) end() uint64       { return b.dynamicAt() + uint64(len(b.dynamic)) }

func (f File) body() *body {
	b := &body{}
	table := "\x00"
	var entries []uint64
	add := func(tag elf.DynTag, s string) {
		entries = append(entries, uint64(tag), uint64(len(table)))
		table += s + "\x00"
	}
	for _, n := range f.Needed {
		add(elf.DT_NEEDED, n)
	}
	if f.RPath != "" {
		add(elf.DT_RPATH, f.RPath)
	}
	if f.RunPath != "" {
		add(elf.DT_RUNPATH, f.RunPath)
	}
	if f.Flags1 != 0 {
		entries = append(entries, uint64(elf.DT_FLAGS_1), uint64(f.Flags1))
	}
	b.interp = bodyAt + uint64(len(table))
	b.strings = table + f.Interp + "\x00"
	b.strings += strings.Repeat("\x00", -len(b.strings)&7)
	if len(entries) > 0 || f.Interp != "" {
		// Addresses are offsets: the segment is loaded at 0.
		entries = append(entries, uint64(elf.DT_STRTAB), bodyAt, uint64(elf.DT_NULL), 0)
		for _, e := range entries {
			b.dynamic = binary.LittleEndian.AppendUint64(b.dynamic, e)
		}
	}
	return b
}
