package erofs

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// An Image is an image that is read, of the kind that Write writes. Nobody
// changes it: several may read it at the same time.
type Image struct {
	r      io.ReaderAt
	size   int64 // bytes
	meta   int64 // where inodes are
	root   uint64
	inodes uint64
}

// Recognise tells whether an image may begin with head.
func Recognise(head []byte) bool {
	return len(head) >= superOffset+4 && binary.LittleEndian.Uint32(head[superOffset:]) == superMagic
}

// Open opens the image in the first size bytes of r. What is in it is read, and
// found to be broken, later.
func Open(r io.ReaderAt, size int64) (*Image, error) {
	b := make([]byte, superSize)
	if _, err := r.ReadAt(b, superOffset); err != nil {
		return nil, fmt.Errorf("read EROFS image: it has no superblock: %w", err)
	}
	le := binary.LittleEndian
	i := &Image{r: r, size: size, root: uint64(le.Uint16(b[14:])), inodes: le.Uint64(b[16:]), meta: int64(le.Uint32(b[40:])) * BlockSize}
	blocks := int64(le.Uint32(b[36:]))
	switch {
	case le.Uint32(b) != superMagic:
		return nil, errors.New("read EROFS image: it has no superblock")
	case b[12] != blockBits:
		return nil, fmt.Errorf("read EROFS image: its blocks have 2^%d bytes, want 2^%d", b[12], blockBits)
	case blocks*BlockSize > size:
		return nil, fmt.Errorf("read EROFS image: it has %d blocks in %d bytes: it is truncated", blocks, size)
	}
	return i, nil
}

// A Found is one file of an image.
type Found struct {
	Mode   uint32 // stat(2)'s
	UID    uint32
	GID    uint32
	Size   int64  // bytes of content
	Target string // of a symbolic link
	at     int64  // of the content
}

// maxPath bounds the path of a file, in bytes: a broken image may nest folders
// without end.
const maxPath = 64 << 10

// Walk calls f for each file, folders before what is in them. The root's path
// is "/". It ends with the first error of f and returns that.
func (i *Image) Walk(f func(p string, found Found) error) error {
	return i.walk("/", i.root, map[uint64]bool{}, f)
}

// walk walks from an inode on. seen are the folders that it was in: none is in
// two.
func (i *Image) walk(p string, nid uint64, seen map[uint64]bool, f func(string, Found) error) error {
	found, err := i.found(nid)
	if err != nil {
		return fmt.Errorf("read EROFS image: %q: %w", p, err)
	}
	if err := f(p, found); err != nil || found.Mode&unix.S_IFMT != unix.S_IFDIR {
		return err
	}
	if seen[nid] || len(p) > maxPath {
		return fmt.Errorf("read EROFS image: %q: it is in two folders, or in too many", p[:min(len(p), maxName)])
	}
	seen[nid] = true
	for at := int64(0); at < found.Size; at += BlockSize {
		block := make([]byte, min(BlockSize, found.Size-at))
		if err := i.read(block, found.at+at); err != nil {
			return fmt.Errorf("read EROFS image: %q: %w", p, err)
		}
		entries, err := decodeBlock(block)
		if err != nil {
			return fmt.Errorf("read EROFS image: %q: %w", p, err)
		}
		for _, e := range entries {
			if err := i.walk(path.Join(p, e.name), e.nid, seen, f); err != nil {
				return err
			}
		}
	}
	return nil
}

// read fills b from offset at on.
func (i *Image) read(b []byte, at int64) error {
	if at < 0 || at > i.size-int64(len(b)) {
		return fmt.Errorf("%d bytes at %d are beyond its %d: it is truncated", len(b), at, i.size)
	}
	_, err := i.r.ReadAt(b, at)
	return err
}

// found reads an inode.
func (i *Image) found(nid uint64) (f Found, err error) {
	if nid/nidStride >= i.inodes {
		return f, fmt.Errorf("inode %d is not one of its %d", nid, i.inodes)
	}
	b := make([]byte, inodeSize)
	if err := i.read(b, i.meta+int64(nid)<<nidShift); err != nil {
		return f, err
	}
	le := binary.LittleEndian
	if format := le.Uint16(b); format != inodeFormat {
		return f, fmt.Errorf("inode %d is of form %#x; only whole, uncompressed files are read here", nid, format)
	}
	f = Found{Mode: uint32(le.Uint16(b[4:])), Size: int64(le.Uint64(b[8:])), UID: le.Uint32(b[24:]), GID: le.Uint32(b[28:])}
	switch f.Mode & unix.S_IFMT {
	case unix.S_IFDIR, unix.S_IFREG, unix.S_IFLNK:
		f.at = int64(le.Uint32(b[16:])) * BlockSize
	default:
		f.Size = 0
	}
	if f.Size < 0 || f.Size > 0 && (f.at > i.size || f.Size > i.size-f.at) {
		return f, fmt.Errorf("its %d bytes at %d are beyond the image's %d: it is truncated", f.Size, f.at, i.size)
	}
	if f.Mode&unix.S_IFMT == unix.S_IFLNK {
		if f.Size > BlockSize {
			return f, fmt.Errorf("its target has %d bytes", f.Size)
		}
		target := make([]byte, f.Size)
		err = i.read(target, f.at)
		f.Target = string(target)
	}
	return f, err
}

// Content returns the content of a regular file that Walk has found.
func (i *Image) Content(f Found) *io.SectionReader { return io.NewSectionReader(i.r, f.at, f.Size) }

type dirent struct {
	name string
	nid  uint64
}

// decodeBlock reads one block of a folder, without "." and "..".
func decodeBlock(b []byte) ([]dirent, error) {
	le := binary.LittleEndian
	if len(b) < direntSize {
		return nil, errors.New("a folder's block is too short")
	}
	names := int(le.Uint16(b[8:]))
	if names < direntSize || names%direntSize != 0 || names > len(b) {
		return nil, fmt.Errorf("a folder's names begin at %d of %d bytes", names, len(b))
	}
	var all []dirent
	for at := 0; at < names; at += direntSize {
		from, to := int(le.Uint16(b[at+8:])), len(b)
		if at+direntSize < names {
			to = int(le.Uint16(b[at+direntSize+8:]))
		}
		if from < names || from > to || to > len(b) {
			return nil, fmt.Errorf("a folder's name is from %d to %d of %d bytes", from, to, len(b))
		}
		name, _, _ := strings.Cut(string(b[from:to]), "\x00")
		if name == "." || name == ".." {
			continue
		}
		if name == "" || len(name) > maxName || strings.Contains(name, "/") {
			return nil, fmt.Errorf("a folder has an entry %q", name)
		}
		all = append(all, dirent{name, le.Uint64(b[at:])})
	}
	return slices.Clip(all), nil
}
