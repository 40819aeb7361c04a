package erofs

import "encoding/binary"

// BlockSize is the block size of the images, in bytes.
const BlockSize = 4096

const (
	superMagic  = 0xe0f5e1e2
	superOffset = 1024
	superSize   = 128
	blockBits   = 12

	inodeSize   = 64 // extended form
	inodeFormat = 1  // extended inode, flat plain data
	nidShift    = 5  // inode numbers count slots of 32 bytes
	nidStride   = inodeSize >> nidShift

	direntSize = 12
	maxName    = 255
	metaBlock  = 1 // inodes begin right after the superblock's block
)

// File types of a directory entry.
const (
	typeRegular = 1 + iota
	typeDirectory
	typeCharacter
	typeBlock
	typeFIFO
	typeSocket
	typeSymlink
)

// superBlock encodes the superblock of an image of blocks blocks that holds
// inodes inodes, the root's being the first.
func superBlock(inodes, blocks int64) []byte {
	b := make([]byte, superSize)
	le := binary.LittleEndian
	le.PutUint32(b[0:], superMagic)
	b[12] = blockBits
	le.PutUint16(b[14:], 0) // root's number
	le.PutUint64(b[16:], uint64(inodes))
	le.PutUint32(b[36:], uint32(blocks))
	le.PutUint32(b[40:], metaBlock)
	return b
}

// encode writes n's inode to b, which has inodeSize bytes.
func (n *node) encode(b []byte) {
	le := binary.LittleEndian
	le.PutUint16(b[0:], inodeFormat)
	le.PutUint16(b[4:], n.mode)
	le.PutUint64(b[8:], uint64(n.size))
	le.PutUint32(b[16:], n.union())
	le.PutUint32(b[20:], uint32(n.index)+1)
	le.PutUint32(b[24:], n.uid)
	le.PutUint32(b[28:], n.gid)
	le.PutUint64(b[32:], uint64(n.mtime))
	le.PutUint32(b[44:], n.nlink)
}

// union is the inode field that holds the first data block, or the number of
// a device.
func (n *node) union() uint32 {
	if n.device != 0 {
		return n.device
	}
	return uint32(n.block)
}

func (n *node) nid() uint64 { return uint64(n.index) * nidStride }

func blocksFor(size int64) int64 { return (size + BlockSize - 1) / BlockSize }
