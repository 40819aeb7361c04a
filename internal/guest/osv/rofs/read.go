package rofs

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
)

// An Image is an image that is read. It has in memory what the tables hold, the
// content of no file. Nobody changes it: several may read it at the same time.
type Image struct {
	r       io.ReaderAt
	size    int64
	super   super
	entries []dirent
	links   []string
	inodes  []inode
}

type dirent struct {
	name  string
	inode uint64
}

// maxTables bounds the tables, in bytes: a guest has all of them in memory.
const maxTables = 1 << 30

// Open reads the tables of the image in the first size bytes of r and checks
// all that is in it but the content of files.
func Open(r io.ReaderAt, size int64) (*Image, error) {
	i := &Image{r: r, size: size}
	if err := i.read(); err != nil {
		return nil, fmt.Errorf("read ROFS image: %w", err)
	}
	return i, nil
}

var errTruncated = errors.New("it is truncated")

func (i *Image) read() error {
	head := make([]byte, superSize)
	if _, err := i.r.ReadAt(head, 0); err != nil {
		return noEOF(err)
	}
	var err error
	if i.super, err = decodeSuper(head); err != nil {
		return err
	}
	blocks := uint64(i.size / BlockSize)
	if i.super.tables == 0 || i.super.tables > blocks || i.super.tableBlocks > blocks-i.super.tables {
		return fmt.Errorf("its tables are at block %d, %d long, and it has %d blocks: %w", i.super.tables, i.super.tableBlocks, blocks, errTruncated)
	}
	length := i.super.tableBlocks * BlockSize
	if length > maxTables {
		return fmt.Errorf("its tables have %d bytes, more than a guest has memory for", length)
	}
	// Compared one by one: their sum may overflow.
	if i.super.entryCount > length/entryHead || i.super.linkCount > length/linkHead || i.super.inodeCount > length/inodeSize {
		return errors.New("its tables hold more than they are long")
	}
	if err := i.readTables(io.NewSectionReader(i.r, int64(i.super.tables)*BlockSize, int64(length))); err != nil {
		return err
	}
	return i.check()
}

// noEOF is err, if that is not the end where there should be more.
func noEOF(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errTruncated
	}
	return err
}

// readTables reads what the superblock counts. It has no more memory than what
// it has seen is worth.
func (i *Image) readTables(section io.Reader) error {
	r := bufio.NewReaderSize(section, 64<<10)
	var head [inodeSize]byte
	for n := range i.super.entryCount {
		if _, err := io.ReadFull(r, head[:entryHead]); err != nil {
			return noEOF(err)
		}
		name, err := readText(r, head[8:entryHead])
		if err != nil {
			return err
		}
		if !validName(name) {
			return fmt.Errorf("entry %d has the name %q", n, name)
		}
		i.entries = append(i.entries, dirent{name, decodeNumber(head[:])})
	}
	for n := range i.super.linkCount {
		if _, err := io.ReadFull(r, head[:linkHead]); err != nil {
			return noEOF(err)
		}
		target, err := readText(r, head[:linkHead])
		if err != nil {
			return err
		}
		if target == "" || strings.IndexByte(target, 0) >= 0 {
			return fmt.Errorf("symbolic link %d leads to %q", n, target)
		}
		i.links = append(i.links, target)
	}
	for n := range i.super.inodeCount {
		if _, err := io.ReadFull(r, head[:]); err != nil {
			return noEOF(err)
		}
		in := decodeInode(head[:])
		if in.number != n+rootInode {
			return fmt.Errorf("inode %d has the number %d", n+rootInode, in.number)
		}
		i.inodes = append(i.inodes, in)
	}
	return nil
}

// readText reads a string after its length.
func readText(r io.Reader, length []byte) (string, error) {
	b := make([]byte, decodeLength(length))
	if _, err := io.ReadFull(r, b); err != nil {
		return "", noEOF(err)
	}
	return string(b), nil
}

// validName tells whether a name can be one in a folder.
func validName(s string) bool {
	return s != "" && s != "." && s != ".." && len(s) <= maxName && !strings.ContainsAny(s, "/\x00")
}

// check makes sure that the inodes are a tree, and the blocks of files there.
func (i *Image) check() error {
	if len(i.inodes) == 0 || i.inodes[0].mode != modeDir {
		return errors.New("it has no root folder")
	}
	owned := make([]bool, len(i.inodes)) // folders that are in one
	owned[0] = true
	for _, e := range i.entries {
		if e.inode < rootInode || e.inode > uint64(len(i.inodes)) {
			return fmt.Errorf("entry %q has the inode %d of %d", e.name, e.inode, len(i.inodes))
		}
		at := e.inode - rootInode
		if i.inodes[at].mode == modeDir && owned[at] {
			return fmt.Errorf("folder %q is in more than one folder", e.name)
		}
		owned[at] = true
	}
	claimed := make([]bool, len(i.entries))
	for _, in := range i.inodes {
		if err := i.checkInode(in, claimed); err != nil {
			return fmt.Errorf("inode %d: %w", in.number, err)
		}
	}
	return nil
}

// checkInode checks one inode. claimed are the entries that are of a folder.
func (i *Image) checkInode(in inode, claimed []bool) error {
	switch in.mode {
	case modeDir:
		if in.count == 0 {
			return nil
		}
		if total := uint64(len(i.entries)); in.offset >= total || in.count > total-in.offset {
			return fmt.Errorf("its entries are from %d on, %d of %d", in.offset, in.count, total)
		}
		for n := range in.count {
			if claimed[in.offset+n] {
				return errors.New("its entries are another folder's, too")
			}
			claimed[in.offset+n] = true
		}
	case modeFile:
		if in.count == 0 {
			return nil
		}
		if blocks := uint64(i.size / BlockSize); in.offset == 0 || in.offset > blocks || in.count > (blocks-in.offset)*BlockSize {
			return fmt.Errorf("its %d bytes are at block %d of %d: %w", in.count, in.offset, blocks, errTruncated)
		}
	case modeLink:
		if in.offset >= uint64(len(i.links)) {
			return fmt.Errorf("its target is %d of %d", in.offset, len(i.links))
		}
	default:
		return fmt.Errorf("it is of mode %#x", in.mode)
	}
	return nil
}

// Size returns the image's length in bytes.
func (i *Image) Size() int64 { return int64(i.super.tables+i.super.tableBlocks) * BlockSize }

// A Kind is what a file is.
type Kind byte

// The kinds.
const (
	Dir     Kind = 'd'
	File    Kind = 'f'
	Symlink Kind = 'l'
)

// A Found is one file of an image.
type Found struct {
	Kind   Kind
	Size   int64  // bytes of a File
	Target string // of a Symlink
	block  int64
}

// maxPath bounds the path of a file, in bytes: a broken image may nest folders
// without end.
const maxPath = 64 << 10

// Walk calls f for each file, folder and link in the order in which the image
// has them, folders before what is in them. The root's path is "/". It ends with
// the first error of f and returns that.
func (i *Image) Walk(f func(p string, found Found) error) error {
	return i.walk("/", i.inodes[0], f)
}

func (i *Image) walk(p string, in inode, f func(string, Found) error) error {
	if err := f(p, i.found(in)); err != nil || in.mode != modeDir {
		return err
	}
	for n := range in.count {
		e := i.entries[in.offset+n]
		if len(p)+len(e.name) > maxPath {
			return fmt.Errorf("a path in it is longer than %d bytes", maxPath)
		}
		if err := i.walk(path.Join(p, e.name), i.inodes[e.inode-rootInode], f); err != nil {
			return err
		}
	}
	return nil
}

func (i *Image) found(in inode) Found {
	switch in.mode {
	case modeDir:
		return Found{Kind: Dir}
	case modeLink:
		return Found{Kind: Symlink, Target: i.links[in.offset]}
	default:
		return Found{Kind: File, Size: int64(in.count), block: int64(in.offset)}
	}
}

// Content returns the content of a File that Walk has found.
func (i *Image) Content(f Found) *io.SectionReader {
	return io.NewSectionReader(i.r, f.block*BlockSize, f.Size)
}
