package osv

import (
	"debug/elf"
	"encoding/binary"
	"errors"
	"io"
	"math"

	"github.com/unifaas/unifaas/internal/guest/osv/rofs"
	"github.com/unifaas/unifaas/internal/image/closure"
)

// The runtime of a Go program that was linked without a C library keeps its
// first thread's local storage in the program's .bss, and has the processor's
// register FS point there before it has written to it. OSv's entry of exceptions
// reads memory by FS: where the page is not there yet, that faults in the entry
// of the fault, for ever. Whether the page is there is a matter of chance: of
// what else the linker has put on it.
//
// So such a program begins with a few instructions that touch these pages, and
// go on to its own first one. They stand in the copy on the disk, in room that
// the linker has left.

const (
	pageSize = 4096
	// prefaulted is how much of .bss is touched at most, in bytes. The linker
	// sorts by size, and what is meant is small: it comes early.
	prefaulted = 2 << 20
)

// Where fields are in ELF's header and program headers (elf(5)), 64 bits.
const (
	entryAt      = 24
	programsAt   = 32
	programSize  = 56
	fileSizeAt   = 32 // in a program header
	memorySizeAt = 40
)

// prefault returns what makes the Go program in file, whose content r is, begin
// by touching its .bss; nothing where it has none.
func prefault(file *elf.File, r io.ReaderAt) ([]rofs.Edit, error) {
	start, pages := untouched(file)
	if pages == 0 {
		return nil, nil
	}
	room := findRoom(file)
	if room == nil {
		return nil, errors.New("its linker has left no room to prepare it for OSv: there is neither a note nor the rest of a page after its code; link it with a build id (no -ldflags=-buildid=)")
	}
	code, err := touch(room.address, start, pages, file.Entry)
	if err != nil {
		return nil, err
	}
	edits := []rofs.Edit{
		{At: room.offset, Bytes: code},
		{At: entryAt, Bytes: binary.LittleEndian.AppendUint64(nil, room.address)},
	}
	if room.grows < 0 {
		return edits, nil
	}
	head := make([]byte, entryAt+programsAt)
	if _, err := r.ReadAt(head, 0); err != nil {
		return nil, err
	}
	program := int64(binary.LittleEndian.Uint64(head[programsAt:])) + int64(room.grows)*programSize
	p := file.Progs[room.grows]
	return append(edits,
		rofs.Edit{At: program + fileSizeAt, Bytes: binary.LittleEndian.AppendUint64(nil, p.Filesz+uint64(len(code)))},
		rofs.Edit{At: program + memorySizeAt, Bytes: binary.LittleEndian.AppendUint64(nil, p.Memsz+uint64(len(code)))},
	), nil
}

// linkedByGo tells whether Go's own linker has made a program, without a C
// library.
func linkedByGo(file *elf.File, needs closure.Needs) bool {
	return file.Section(".go.buildinfo") != nil && len(needs.Libraries) == 0
}

// untouched returns the first page of .bss on which there is nothing of the
// file, and how many follow it.
func untouched(file *elf.File) (start uint64, pages uint32) {
	for _, p := range file.Progs {
		if p.Type != elf.PT_LOAD || p.Flags&elf.PF_W == 0 || p.Memsz <= p.Filesz {
			continue
		}
		// OSv writes zeros to the rest of the file's last page.
		start = (p.Vaddr + p.Filesz + pageSize - 1) &^ (pageSize - 1)
		end := p.Vaddr + p.Memsz
		if start >= end || end < p.Vaddr {
			continue
		}
		return start, uint32((min(end-start, prefaulted) + pageSize - 1) / pageSize)
	}
	return 0, 0
}

// A place is where code can be put.
type place struct {
	offset  int64 // in the file
	address uint64
	grows   int // index of the segment that must be made longer, -1 when none
}

// codeSize is the length of touch's code.
const codeSize = 34

// findRoom looks for a place: after the code, up to the end of its page, or
// where the linker's note is, of which OSv wants nothing.
func findRoom(file *elf.File) *place {
	for i, p := range file.Progs {
		if p.Type != elf.PT_LOAD || p.Flags&elf.PF_X == 0 || p.Memsz != p.Filesz {
			continue
		}
		end := p.Off + p.Filesz
		if left := -end % pageSize; left >= codeSize && !used(file, end, end+codeSize) {
			return &place{int64(end), p.Vaddr + p.Filesz, i}
		}
		for _, n := range file.Progs {
			if n.Type == elf.PT_NOTE && n.Filesz >= codeSize && n.Off >= p.Off && n.Off+n.Filesz <= end {
				return &place{int64(n.Off), n.Vaddr, -1}
			}
		}
	}
	return nil
}

// used tells whether a segment has anything between two offsets of the file.
func used(file *elf.File, from, to uint64) bool {
	for _, p := range file.Progs {
		if p.Off < to && from < p.Off+p.Filesz {
			return true
		}
	}
	return false
}

// touch returns code for address: it writes back a byte of each of pages pages
// from start on, and jumps to next. Registers are as they were.
func touch(address, start uint64, pages uint32, next uint64) ([]byte, error) {
	const (
		afterLoad = 9        // where the instruction after the address's load is
		afterAll  = codeSize // after the jump
	)
	toStart, ok1 := relative(address+afterLoad, start)
	toNext, ok2 := relative(address+afterAll, next)
	if !ok1 || !ok2 {
		return nil, errors.New("its segments are too far from each other")
	}
	le := binary.LittleEndian
	b := []byte{0x50, 0x51, 0x48, 0x8d, 0x05} // push rax; push rcx; lea start(rip), rax
	b = le.AppendUint32(b, toStart)
	b = le.AppendUint32(append(b, 0xb9), pages)             // mov pages, ecx
	b = append(b, 0x80, 0x08, 0x00)                         // or 0, byte [rax]
	b = le.AppendUint32(append(b, 0x48, 0x05), pageSize)    // add 4096, rax
	b = append(b, 0xff, 0xc9, 0x75, 0xf3, 0x59, 0x58, 0xe9) // dec ecx; jnz to the or; pop rcx; pop rax; jmp
	return le.AppendUint32(b, toNext), nil
}

// relative is the distance between two addresses as instructions have it.
func relative(from, to uint64) (uint32, bool) {
	d := int64(to - from)
	return uint32(d), d >= math.MinInt32 && d <= math.MaxInt32
}
