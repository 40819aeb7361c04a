package gvisor

import (
	"encoding/binary"
	"fmt"
)

// exitStatus is what the probe's program exits with.
const exitStatus = 42

// exitCode is the machine code of exit_group(exitStatus).
var exitCode = map[string][]byte{
	"amd64": {
		0xbf, exitStatus, 0, 0, 0, // mov edi, exitStatus
		0xb8, 231, 0, 0, 0, // mov eax, exit_group
		0x0f, 0x05, // syscall
	},
	"arm64": {
		0x40, 0x05, 0x80, 0xd2, // mov x0, #42
		0xc8, 0x0b, 0x80, 0xd2, // mov x8, #94 (exit_group)
		0x01, 0x00, 0x00, 0xd4, // svc #0
	},
}

// elfMachine is e_machine of elf(5).
var elfMachine = map[string]uint16{"amd64": 62, "arm64": 183}

// exitProgram returns the smallest static ELF program (elf(5)) that exits with
// exitStatus: a header, one loadable segment, the code.
func exitProgram(arch string) ([]byte, error) {
	code, ok := exitCode[arch]
	if !ok {
		return nil, fmt.Errorf("no probe program for %s", arch)
	}
	const (
		base       = 0x400000
		headerSize = 64
		entrySize  = 56
		start      = headerSize + entrySize
	)
	size := uint64(start + len(code))
	le := binary.LittleEndian
	b := []byte{0x7f, 'E', 'L', 'F', 2, 1, 1, 15: 0} // 64 bits, little endian
	b = le.AppendUint16(b, 2)                        // executable
	b = le.AppendUint16(b, elfMachine[arch])
	b = le.AppendUint32(b, 1)
	b = le.AppendUint64(b, base+start)
	b = le.AppendUint64(b, headerSize) // of the program headers
	b = le.AppendUint64(b, 0)          // no section headers
	b = le.AppendUint32(b, 0)
	for _, v := range []uint16{headerSize, entrySize, 1, 0, 0, 0} {
		b = le.AppendUint16(b, v)
	}
	b = le.AppendUint32(b, 1) // loadable
	b = le.AppendUint32(b, 5) // readable, executable
	for _, v := range []uint64{0, base, base, size, size, 0x10000} {
		b = le.AppendUint64(b, v)
	}
	return append(b, code...), nil
}
