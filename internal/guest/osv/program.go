package osv

import (
	"debug/elf"
	"fmt"
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

// check tells whether the program at p can run on OSv with that kernel and that
// environment. Its errors say what would.
func (r root) check(p string, l *Loader, environ []string) (*program, error) {
	f, err := r.File(p)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	prog, err := r.examine(f, l, environ)
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
func (r root) examine(f *os.File, l *Loader, environ []string) (*program, error) {
	file, err := rootfs.ReadProgram(f)
	if err != nil {
		return nil, err
	}
	if err := checkAddresses(file, l); err != nil {
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
		err = r.CheckLinked(needs, f.Name(), environ)
	case interpreter != "":
		err = r.checkOwn(needs, f.Name(), linkedByGo(file, needs))
	}
	if err == nil && linkedByGo(file, needs) {
		prog.edits, err = prefault(file, f)
	}
	return prog, err
}

// checkAddresses refuses a program that is linked to where the kernel is.
func checkAddresses(file *elf.File, l *Loader) error {
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
