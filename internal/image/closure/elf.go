package closure

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"strings"
)

// object is what the dynamic linker reads of an ELF file.
type object struct {
	machine elf.Machine
	class   elf.Class
	kind    elf.Type
	entry   uint64
	interp  string // PT_INTERP, "" for a static program or a library
	dynamic bool   // has PT_DYNAMIC
	pie     bool   // DF_1_PIE

	needed  []string
	rpath   []string // DT_RPATH, empty when there is a DT_RUNPATH
	runpath []string
}

const (
	maxDynamic = 1 << 20 // bytes of PT_DYNAMIC
	maxString  = 1 << 14 // bytes of one string
)

// readObject reads the program headers as the kernel and ld.so do; section
// headers, which may have been stripped, are not looked at.
func readObject(r io.ReaderAt) (*object, error) {
	f, err := elf.NewFile(withoutSections{r})
	if err != nil {
		return nil, err
	}
	o := &object{machine: f.Machine, class: f.Class, kind: f.Type, entry: f.Entry}
	for _, p := range f.Progs {
		switch p.Type {
		case elf.PT_INTERP:
			if o.interp, err = readString(p, 0, int64(p.Filesz)); err != nil {
				return nil, fmt.Errorf("read PT_INTERP: %w", err)
			}
		case elf.PT_DYNAMIC:
			o.dynamic = true
			if err := o.readDynamic(f, p); err != nil {
				return nil, fmt.Errorf("read PT_DYNAMIC: %w", err)
			}
		}
	}
	return o, nil
}

func (o *object) readDynamic(f *elf.File, p *elf.Prog) error {
	data, err := io.ReadAll(io.LimitReader(p.Open(), maxDynamic))
	if err != nil {
		return err
	}
	entries := dynamicEntries(f, data)
	var table uint64
	for _, e := range entries {
		if e.tag == elf.DT_STRTAB {
			table = e.value
		}
	}
	for _, e := range entries {
		if e.tag == elf.DT_FLAGS_1 {
			o.pie = elf.DynFlag1(e.value)&elf.DF_1_PIE != 0
		}
		if e.tag != elf.DT_NEEDED && e.tag != elf.DT_RPATH && e.tag != elf.DT_RUNPATH {
			continue
		}
		s, err := stringAt(f, table+e.value)
		if err != nil {
			return fmt.Errorf("%v: %w", e.tag, err)
		}
		switch e.tag {
		case elf.DT_NEEDED:
			o.needed = append(o.needed, s)
		case elf.DT_RPATH:
			o.rpath = strings.Split(s, ":")
		default:
			o.runpath = strings.Split(s, ":")
		}
	}
	if o.runpath != nil {
		o.rpath = nil // ld.so ignores DT_RPATH then
	}
	return nil
}

type dynamicEntry struct {
	tag   elf.DynTag
	value uint64
}

func dynamicEntries(f *elf.File, data []byte) []dynamicEntry {
	size := 16
	if f.Class == elf.ELFCLASS32 {
		size = 8
	}
	var entries []dynamicEntry
	for ; len(data) >= size; data = data[size:] {
		var e dynamicEntry
		if size == 8 {
			e = dynamicEntry{elf.DynTag(f.ByteOrder.Uint32(data)), uint64(f.ByteOrder.Uint32(data[4:]))}
		} else {
			e = dynamicEntry{elf.DynTag(f.ByteOrder.Uint64(data)), f.ByteOrder.Uint64(data[8:])}
		}
		if e.tag == elf.DT_NULL {
			break
		}
		entries = append(entries, e)
	}
	return entries
}

// stringAt reads the string at a virtual address.
func stringAt(f *elf.File, address uint64) (string, error) {
	for _, p := range f.Progs {
		if p.Type == elf.PT_LOAD && address >= p.Vaddr && address-p.Vaddr < p.Filesz {
			return readString(p, int64(address-p.Vaddr), maxString)
		}
	}
	return "", fmt.Errorf("address %#x is in no segment", address)
}

// readString reads up to a NUL byte.
func readString(r io.ReaderAt, at, limit int64) (string, error) {
	b := make([]byte, min(limit, maxString))
	n, err := r.ReadAt(b, at)
	i := bytes.IndexByte(b[:n], 0)
	if i >= 0 {
		return string(b[:i]), nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		err = errors.New("string does not end")
	}
	return "", err
}

// withoutSections shows an ELF file as if it had no section headers.
type withoutSections struct{ r io.ReaderAt }

// Offsets in the ELF header, from elf(5).
const (
	identClass    = 4
	identData     = 5
	shoffAt32     = 32
	shnumAt32     = 48
	shoffAt64     = 40
	shnumAt64     = 60
	headerLength  = 64
	sectionsBytes = 4 // e_shnum and e_shstrndx
)

func (w withoutSections) ReadAt(b []byte, at int64) (int, error) {
	n, err := w.r.ReadAt(b, at)
	if at >= headerLength {
		return n, err
	}
	var ident [16]byte
	if _, err := w.r.ReadAt(ident[:], 0); err != nil {
		return 0, err
	}
	if elf.Class(ident[identClass]) == elf.ELFCLASS32 {
		blank(b[:n], at, shoffAt32, 4)
		blank(b[:n], at, shnumAt32, sectionsBytes)
	} else {
		blank(b[:n], at, shoffAt64, 8)
		blank(b[:n], at, shnumAt64, sectionsBytes)
	}
	return n, err
}

// blank zeroes the bytes [from, from+length) of a file in b, which was read at.
func blank(b []byte, at, from int64, length int64) {
	for i := max(from, at); i < min(from+length, at+int64(len(b))); i++ {
		b[i-at] = 0
	}
}

// Needs are what an ELF file says that has to be found before it runs.
type Needs struct {
	Interpreter string   // the dynamic linker; "" of a static program, or of a library
	Libraries   []string // names
	Folders     []string // where to look first; $ORIGIN is the file's own folder
}

// Search returns the folders in which what the file at a path needs is looked for
// first, by a dynamic linker of x86-64.
func (n Needs) Search(path string) []string { return expandAll(n.Folders, path, elf.EM_X86_64) }

// ReadNeeds reads what an ELF file needs, from its program headers.
func ReadNeeds(r io.ReaderAt) (Needs, error) {
	o, err := readObject(r)
	if err != nil {
		return Needs{}, err
	}
	return Needs{Interpreter: o.interp, Libraries: o.needed, Folders: append(o.rpath, o.runpath...)}, nil
}
