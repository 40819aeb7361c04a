package erofs

import (
	"encoding/binary"
	"sort"

	"golang.org/x/sys/unix"
)

// entries returns a directory's entries with "." and "..", sorted bytewise as
// readers search them.
func (n *node) entries() []entry {
	all := make([]entry, 0, len(n.children)+2)
	all = append(all, entry{".", n}, entry{"..", n.parent})
	all = append(all, n.children...)
	sort.Slice(all, func(i, j int) bool { return all[i].name < all[j].name })
	return all
}

// fill returns how many of entries fit into one block.
func fill(entries []entry) int {
	used := 0
	for i, e := range entries {
		used += direntSize + len(e.name)
		if used > BlockSize {
			return i
		}
	}
	return len(entries)
}

// directorySize is the size of n's directory data: whole blocks, the last one
// as long as what is in it.
func directorySize(n *node) int64 {
	var size int64
	for rest := n.entries(); len(rest) > 0; {
		k := fill(rest)
		if k < len(rest) {
			size += BlockSize
		} else {
			size += int64(len(encodeBlock(rest)))
		}
		rest = rest[k:]
	}
	return size
}

// directoryData encodes n's entries: per block an array of entries, then the
// names.
func directoryData(n *node) []byte {
	var data []byte
	for rest := n.entries(); len(rest) > 0; {
		k := fill(rest)
		block := encodeBlock(rest[:k])
		if k < len(rest) {
			block = append(block, make([]byte, BlockSize-len(block))...)
		}
		data = append(data, block...)
		rest = rest[k:]
	}
	return data
}

func encodeBlock(entries []entry) []byte {
	le := binary.LittleEndian
	b := make([]byte, direntSize*len(entries))
	for i, e := range entries {
		d := b[i*direntSize:]
		le.PutUint64(d[0:], e.node.nid())
		le.PutUint16(d[8:], uint16(len(b)))
		d[10] = fileType(e.node.mode)
		b = append(b, e.name...)
	}
	return b
}

func fileType(mode uint16) byte {
	switch mode & unix.S_IFMT {
	case unix.S_IFDIR:
		return typeDirectory
	case unix.S_IFLNK:
		return typeSymlink
	case unix.S_IFCHR:
		return typeCharacter
	case unix.S_IFBLK:
		return typeBlock
	case unix.S_IFIFO:
		return typeFIFO
	case unix.S_IFSOCK:
		return typeSocket
	default:
		return typeRegular
	}
}
