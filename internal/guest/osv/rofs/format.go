package rofs

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// BlockSize is the size of a block of an image, in bytes.
const BlockSize = 512

// An image is a superblock, the content of files, each from a block of its own,
// and then, at the beginning of a block, the three tables: entries of folders,
// targets of symbolic links, inodes. All numbers are little-endian.
const (
	magic   = 0xdeadbead
	version = 1

	superSize = 64 // bytes of the superblock that mean something
	inodeSize = 32
	entryHead = 8 + 2 // bytes before an entry's name: its inode, the name's length
	linkHead  = 2     // bytes before a symbolic link's target: its length

	// maxName is what OSv's struct dirent holds, and maxTarget its PATH_MAX,
	// both without the zero at the end.
	maxName   = 255
	maxTarget = 4095
)

// Modes of an inode. OSv looks at no other bit.
const (
	modeDir  = 0x4000
	modeFile = 0x8000
	modeLink = 0xa000
)

// rootInode is the number of the root folder's inode; there is none 0.
const rootInode = 1

// A super is the superblock.
type super struct {
	tables      uint64 // block with which the tables begin
	tableBlocks uint64 // length of the tables
	entryCount  uint64
	linkCount   uint64
	inodeCount  uint64
}

func (s *super) encode() []byte {
	b := make([]byte, BlockSize)
	for i, v := range []uint64{magic, version, BlockSize, s.tables, s.tableBlocks, s.entryCount, s.linkCount, s.inodeCount} {
		binary.LittleEndian.PutUint64(b[8*i:], v)
	}
	return b
}

var errMagic = errors.New("it has no superblock of ROFS")

// decodeSuper reads a superblock from b, which has superSize bytes.
func decodeSuper(b []byte) (super, error) {
	field := func(i int) uint64 { return binary.LittleEndian.Uint64(b[8*i:]) }
	switch {
	case field(0) != magic:
		return super{}, errMagic
	case field(1) != version:
		return super{}, fmt.Errorf("it is of version %d, want %d", field(1), version)
	case field(2) != BlockSize:
		return super{}, fmt.Errorf("its blocks have %d bytes, want %d", field(2), BlockSize)
	}
	return super{tables: field(3), tableBlocks: field(4), entryCount: field(5), linkCount: field(6), inodeCount: field(7)}, nil
}

// Recognise tells whether an image may begin with head.
func Recognise(head []byte) bool {
	return len(head) >= superSize && binary.LittleEndian.Uint64(head) == magic
}

// An inode is what a file, a folder or a symbolic link is.
type inode struct {
	mode   uint64
	number uint64
	// offset is the first block of a file, the index of a folder's first entry,
	// or the index of a link's target.
	offset uint64
	count  uint64 // bytes of a file, entries of a folder; 1 for a link
}

func (n inode) append(b []byte) []byte {
	for _, v := range [...]uint64{n.mode, n.number, n.offset, n.count} {
		b = binary.LittleEndian.AppendUint64(b, v)
	}
	return b
}

// decodeInode reads an inode from b, which has inodeSize bytes.
func decodeInode(b []byte) inode {
	le := binary.LittleEndian
	// OSv's mode has 32 bits; what is beside it is padding.
	return inode{mode: uint64(le.Uint32(b)), number: le.Uint64(b[8:]), offset: le.Uint64(b[16:]), count: le.Uint64(b[24:])}
}

// appendEntry appends an entry of a folder.
func appendEntry(b []byte, name string, number uint64) []byte {
	b = binary.LittleEndian.AppendUint64(b, number)
	b = binary.LittleEndian.AppendUint16(b, uint16(len(name)))
	return append(b, name...)
}

// appendLink appends the target of a symbolic link.
func appendLink(b []byte, target string) []byte {
	b = binary.LittleEndian.AppendUint16(b, uint16(len(target)))
	return append(b, target...)
}

// decodeNumber reads an entry's inode, and decodeLength how long its name or a
// link's target is.
func decodeNumber(b []byte) uint64 { return binary.LittleEndian.Uint64(b) }
func decodeLength(b []byte) int    { return int(binary.LittleEndian.Uint16(b)) }

func blocksFor(size int64) int64 { return (size + BlockSize - 1) / BlockSize }
