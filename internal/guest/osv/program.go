package osv

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"os"
	"path"

	"github.com/unifaas/unifaas/internal/guest/osv/rofs"
	"github.com/unifaas/unifaas/internal/guest/rootfs"
	"github.com/unifaas/unifaas/internal/image/closure"
)

// A root is a root file system whose programs are to run on OSv.
type root struct{ *rootfs.Root }

// A program is what a guest runs.
type program struct {
	path string // absolute, in the image
	// interpreter is the dynamic linker in the image that starts it; "" is OSv
	// itself. Only the former gives a program all that Linux does.
	interpreter string
	// edits prepare it for OSv.
	edits []rofs.Edit
}

// argv returns what OSv is to run, with the program's own arguments.
func (p *program) argv(arguments []string) []string {
	argv := append([]string{p.path}, arguments...)
	if p.interpreter != "" {
		return append([]string{p.interpreter}, argv...)
	}
	return argv
}

// check tells whether the program at p can run on OSv with that kernel. Its
// errors say what would.
func (r root) check(p string, l *Loader) (*program, error) {
	f, err := r.File(p)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	prog, err := r.examine(f, l)
	if err != nil {
		return nil, fmt.Errorf("program %q: %w", p, err)
	}
	real, err := r.Name(f)
	for i := range prog.edits {
		prog.edits[i].Path = real
	}
	return prog, err
}

// examine tells how the program in f is run.
func (r root) examine(f *os.File, l *Loader) (*program, error) {
	if err := checkHead(f); err != nil {
		return nil, err
	}
	file, err := elf.NewFile(f)
	if err != nil {
		return nil, err
	}
	if err := checkELF(file, l); err != nil {
		return nil, err
	}
	needs, err := closure.ReadNeeds(f)
	if err != nil {
		return nil, err
	}
	prog, interpreter := &program{path: f.Name()}, needs.Interpreter
	switch {
	case interpreter != "" && !path.IsAbs(interpreter):
		return nil, fmt.Errorf("its dynamic linker is %q, which is no absolute path", interpreter)
	case interpreter == "" && !l.Static:
		return nil, fmt.Errorf("it is statically linked, which OSv %s does not run; take a newer kernel, or link it dynamically", l.Version)
	case interpreter != "" && l.Static && r.Has(interpreter):
		prog.interpreter = interpreter
		err = r.checkLinux(needs, path.Dir(f.Name()))
	case interpreter != "":
		err = r.checkOwn(needs, path.Dir(f.Name()), linkedByGo(file, needs))
	}
	if err == nil && linkedByGo(file, needs) {
		prog.edits, err = prefault(file, f)
	}
	return prog, err
}

// checkHead tells what is no ELF file.
func checkHead(f io.ReaderAt) error {
	head := make([]byte, len(elf.ELFMAG))
	if _, err := f.ReadAt(head, 0); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	switch {
	case bytes.HasPrefix(head, []byte("#!")):
		return errors.New("it is a script, and OSv runs one program without a shell: name its interpreter as the command's first word")
	case !bytes.Equal(head, []byte(elf.ELFMAG)):
		return errors.New("it is no ELF file; OSv runs ELF programs for x86-64 Linux")
	}
	return nil
}

// checkELF tells whether a program is of the kind that OSv runs.
func checkELF(file *elf.File, l *Loader) error {
	if file.Machine != elf.EM_X86_64 || file.Class != elf.ELFCLASS64 {
		return fmt.Errorf("it is for %v, and OSv here for x86-64", file.Machine)
	}
	if file.Type != elf.ET_EXEC && file.Type != elf.ET_DYN {
		return fmt.Errorf("it is no program, but of type %v", file.Type)
	}
	if file.Type == elf.ET_DYN {
		return nil
	}
	for _, p := range file.Progs {
		if p.Type == elf.PT_LOAD && p.Vaddr < l.Last && l.First < p.Vaddr+p.Memsz {
			return fmt.Errorf("it is linked to addresses from %#x on, where OSv's kernel is; build it position-independent (gcc -static-pie)", p.Vaddr)
		}
	}
	return nil
}
