package rootfs

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"io"
)

// ReadProgram reads the head of a file that a unikernel is to run as its only
// program, and tells what stands against that. The ELF file reads from f.
func ReadProgram(f io.ReaderAt) (*elf.File, error) {
	head := make([]byte, len(elf.ELFMAG))
	if _, err := f.ReadAt(head, 0); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	switch {
	case bytes.HasPrefix(head, []byte("#!")):
		return nil, errors.New("it is a script, and a unikernel runs one program without a shell: name its interpreter as the command's first word")
	case !bytes.Equal(head, []byte(elf.ELFMAG)):
		return nil, errors.New("it is no ELF file, and a unikernel runs nothing else")
	}
	file, err := elf.NewFile(f)
	if err != nil {
		return nil, err
	}
	switch {
	case file.Machine != elf.EM_X86_64 || file.Class != elf.ELFCLASS64:
		return nil, fmt.Errorf("it is for %v, want x86-64", file.Machine)
	case file.Type != elf.ET_EXEC && file.Type != elf.ET_DYN:
		return nil, fmt.Errorf("it is no program, but of type %v", file.Type)
	case file.Type == elf.ET_DYN && file.Entry == 0:
		return nil, errors.New("it is a library, and no program")
	}
	return file, nil
}
