package assets

import (
	"bytes"
	"crypto/sha256"
	"debug/elf"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// A Kind is what one guest system needs.
type Kind struct {
	// System is its name, for instance "nanos", and Title the same for people.
	System, Title string
	// Files are those that belong together. Where there is one alone, a path may
	// name it instead of its folder, whatever it is called.
	Files []File
	// Version finds the version in the files' contents, in their order; nil, and
	// "", are that it is not told.
	Version func(contents [][]byte) string
	// Elsewhere returns folders in which other tools keep such files, the best
	// first; nil is none. What is not there is passed over.
	Elsewhere func() []string
	// Setting is how the operator names the files' place, for people: the key in
	// unifaas.toml or the variable.
	Setting string
	// Remedy says, for people, how such files are had.
	Remedy string
}

// A File is one of a kind's files.
type File struct {
	Name string
	// Check tells whether something is such a file.
	Check func(content []byte) error
}

// Origin says how a set was found.
type Origin string

// The origins, the strongest first.
const (
	Configured Origin = "configured" // named by the operator's settings
	Added      Origin = "added"      // put into the store
	Foreign    Origin = "elsewhere"  // kept by another tool
)

// A Set is one set of files that belong together.
type Set struct {
	System  string
	Version string // "" is not known
	Digest  string // "sha256:..." of all files
	Origin  Origin
	Source  string // the path that was named or added

	paths map[string]string
	files map[string]checkedFile
}

// A checkedFile is what a file was when it was checked.
type checkedFile struct {
	info os.FileInfo // from before it was read
	sum  [sha256.Size]byte
}

// Path returns where a file of the set is. It may be another by now; see Open.
func (s *Set) Path(name string) string { return s.paths[name] }

// Open opens what was checked as a file of the set: a copy in memory, which nobody
// changes. The caller closes it.
func (s *Set) Open(name string) (*os.File, error) {
	path := s.Path(name)
	content, _, err := readFile(path)
	if err != nil {
		return nil, err
	}
	if sha256.Sum256(content) != s.files[name].sum {
		return nil, fmt.Errorf("%q is being changed", path)
	}
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("memfd_create", err)
	}
	f := os.NewFile(uintptr(fd), path)
	if _, err := f.Write(content); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// unchanged reports whether all files are as they were when they were checked.
func (s *Set) unchanged() bool {
	for name, was := range s.files {
		now, err := os.Stat(s.paths[name])
		if err != nil || !os.SameFile(now, was.info) || now.Size() != was.info.Size() ||
			!now.ModTime().Equal(was.info.ModTime()) || changed(now) != changed(was.info) {
			return false
		}
	}
	return true
}

// changed is when the file itself says it was, whatever its content's time was set
// to since.
func changed(info os.FileInfo) syscall.Timespec { return info.Sys().(*syscall.Stat_t).Ctim }

// ID is a short name for people and files.
func (s *Set) ID() string { return s.System + "-" + strings.TrimPrefix(s.Digest, "sha256:")[:12] }

// maxFile is far above the size of any kernel, bytes.
const maxFile = 256 << 20

// Read checks what is at path, a folder or the only file, and returns it as a
// set.
func (k Kind) Read(path string, origin Origin) (*Set, error) {
	set, _, err := k.read(path, origin)
	if err != nil {
		return nil, fmt.Errorf("assets of %s in %q: %w", k.System, path, err)
	}
	return set, nil
}

func (k Kind) read(path string, origin Origin) (*Set, [][]byte, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, nil, err
	}
	paths, err := k.paths(path)
	if err != nil {
		return nil, nil, err
	}
	set := &Set{System: k.System, Origin: origin, Source: path, paths: paths, files: map[string]checkedFile{}}
	sum := sha256.New()
	var contents [][]byte
	for _, file := range k.Files {
		content, info, err := readFile(paths[file.Name])
		if err != nil {
			return nil, nil, err
		}
		if err := file.Check(content); err != nil {
			return nil, nil, fmt.Errorf("%s is not what it should be: %w", file.Name, err)
		}
		contents = append(contents, content)
		one := sha256.Sum256(content)
		set.files[file.Name] = checkedFile{info, one}
		fmt.Fprintf(sum, "%x %s\n", one, file.Name)
	}
	set.Digest = "sha256:" + hex.EncodeToString(sum.Sum(nil))
	if k.Version != nil {
		set.Version = k.Version(contents)
	}
	return set, contents, nil
}

// paths returns where the files are.
func (k Kind) paths(path string) (map[string]string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		if len(k.Files) != 1 {
			return nil, fmt.Errorf("it is a file; name the folder that holds %s", k.names())
		}
		return map[string]string{k.Files[0].Name: path}, nil
	}
	paths := map[string]string{}
	for _, f := range k.Files {
		paths[f.Name] = filepath.Join(path, f.Name)
		if _, err := os.Stat(paths[f.Name]); errors.Is(err, os.ErrNotExist) {
			return nil, fmt.Errorf("there is no %s; the folder must hold %s: %w", f.Name, k.names(), os.ErrNotExist)
		}
	}
	return paths, nil
}

func (k Kind) names() string {
	var names []string
	for _, f := range k.Files {
		names = append(names, f.Name)
	}
	return strings.Join(names, " and ")
}

// readFile returns a file's content, and what the file was before.
func readFile(path string) ([]byte, os.FileInfo, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a FIFO has nobody to wait for
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return nil, nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > maxFile {
		return nil, nil, fmt.Errorf("%q is no kernel (%v, %d bytes)", path, info.Mode().Type(), info.Size())
	}
	content, err := io.ReadAll(io.LimitReader(f, maxFile))
	return content, info, err
}

// CheckELF tells whether something is an ELF program for x86-64 whose segments
// are all there.
func CheckELF(content []byte) error {
	f, err := elf.NewFile(bytes.NewReader(content))
	if err != nil {
		return fmt.Errorf("it is no ELF file: %w", err)
	}
	defer func() { _ = f.Close() }()
	if f.Machine != elf.EM_X86_64 || f.Type != elf.ET_EXEC && f.Type != elf.ET_DYN {
		return fmt.Errorf("it is an ELF file (%v, %v), but no kernel for x86-64", f.Machine, f.Type)
	}
	loads := 0
	for _, p := range f.Progs {
		if p.Type != elf.PT_LOAD {
			continue
		}
		loads++
		if size := uint64(len(content)); p.Off > size || p.Filesz > size-p.Off {
			return errors.New("it is cut off: a segment reaches beyond its end")
		}
	}
	if loads == 0 {
		return errors.New("it has nothing to load: no kernel")
	}
	return nil
}
