package closure

import (
	"bytes"
	"debug/elf"
	"strings"
	"unicode/utf8"
)

// describe says what a file that is not ELF seems to be.
func describe(head []byte) string {
	for _, k := range []struct{ magic, name string }{
		{"MZ", "a Windows program"},
		{"\xcf\xfa\xed\xfe", "a macOS program"},
		{"\xca\xfe\xba\xbe", "a macOS program or a Java class"},
		{"\x00asm", "a WebAssembly module"},
		{"\x1f\x8b", "a gzip file"},
		{"PK\x03\x04", "a zip file"},
		{"!<arch>", "an archive of object files"},
	} {
		if bytes.HasPrefix(head, []byte(k.magic)) {
			return k.name
		}
	}
	// The last character may be cut.
	if utf8.Valid(head[:max(0, len(head)-utf8.UTFMax)]) && !bytes.ContainsRune(head, 0) {
		return "a text file"
	}
	return "no program of a known format"
}

func machineOf(goarch string) elf.Machine {
	switch goarch {
	case "amd64":
		return elf.EM_X86_64
	case "arm64":
		return elf.EM_AARCH64
	case "riscv64":
		return elf.EM_RISCV
	default:
		return elf.EM_NONE
	}
}

func architecture(m elf.Machine) string {
	switch m {
	case elf.EM_X86_64:
		return "amd64"
	case elf.EM_AARCH64:
		return "arm64"
	case elf.EM_RISCV:
		return "riscv64"
	default:
		return strings.ToLower(strings.TrimPrefix(m.String(), "EM_"))
	}
}

func bits(c elf.Class) string {
	if c == elf.ELFCLASS32 {
		return "32 bits"
	}
	return "64 bits"
}
