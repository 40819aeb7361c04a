package tfs

import (
	"errors"
	"fmt"
)

const (
	// SectorSize is the unit of all positions and lengths, in bytes.
	SectorSize = 512
	// align is what data begin at a multiple of, in sectors: a page of the
	// guest, and a block of the host's file system.
	align = 8
	// maxExtent is the longest run of one file's sectors that the kernel makes.
	maxExtent = 8192 * align
	// extensionSize is the length of an extension that the kernel makes, bytes.
	extensionSize = 512 << 10
	// maxLabel is a label's length with the zero that ends it, bytes.
	maxLabel = 32
	version  = 5
)

const magic = "NVMTFS"

// Frames of the log.
const (
	frameEnd       = 1 // of the log
	frameRecord    = 2 // lengths of the record and of the part that follows
	frameContinued = 3 // length of a further part
	frameSegment   = 4 // where the log has ended once
	frameLink      = 5 // first sector of the next extension, and its length
)

// Types of values.
const (
	typeBuffer  = 0 // a name; as a value with no bytes, that there is none
	typeTuple   = 1
	typeVector  = 2
	typeInteger = 3
	typeString  = 4
)

// Names of attributes that the kernel gives a meaning.
const (
	attrChildren   = "children"
	attrExtents    = "extents"
	attrLength     = "length"
	attrOffset     = "offset"
	attrAllocated  = "allocated"
	attrFileLength = "filelength"
	attrLinkTarget = "linktarget"
	attrLinks      = "nlink"
	attrModified   = "mtime"
	attrUnwritten  = "uninited" // of an extent that reads as zeros
)

// maxVarint is the longest number, bytes.
const maxVarint = 10

// appendVarint appends a number in groups of seven bits.
func appendVarint(b []byte, x uint64) []byte {
	shift := 0
	for x>>shift > 0x7f {
		shift += 7
	}
	for ; shift > 0; shift -= 7 {
		b = append(b, byte(x>>shift)&0x7f|0x80)
	}
	return append(b, byte(x)&0x7f)
}

// appendHeader appends a value's header: a bit that says whether the value
// follows or is named, three of its type, one that says whether the count goes
// on in further bytes, and the first three bits of the count.
func appendHeader(b []byte, follows bool, kind byte, count uint64) []byte {
	first := kind << 4
	if follows {
		first |= 0x80
	}
	shift := 0
	for count>>shift > 7 {
		shift += 7
	}
	first |= byte(count >> shift)
	if shift > 0 {
		first |= 0x08
	}
	b = append(b, first)
	for shift > 0 {
		shift -= 7
		group := byte(count>>shift) & 0x7f
		if shift > 0 {
			group |= 0x80
		}
		b = append(b, group)
	}
	return b
}

var (
	errCut  = errors.New("a record is cut off")
	errLong = errors.New("a number is longer than 64 bits")
)

// A decoder takes a record apart.
type decoder struct{ rest []byte }

func (d *decoder) byte() (byte, error) {
	if len(d.rest) == 0 {
		return 0, errCut
	}
	b := d.rest[0]
	d.rest = d.rest[1:]
	return b, nil
}

func (d *decoder) bytes(n uint64) ([]byte, error) {
	if n > uint64(len(d.rest)) {
		return nil, errCut
	}
	b := d.rest[:n]
	d.rest = d.rest[n:]
	return b, nil
}

// groups reads what is left of a number, of which x has been read.
func (d *decoder) groups(x uint64) (uint64, error) {
	for {
		b, err := d.byte()
		if err != nil {
			return 0, err
		}
		if x>>57 != 0 {
			return 0, errLong
		}
		x = x<<7 | uint64(b&0x7f)
		if b&0x80 == 0 {
			return x, nil
		}
	}
}

func (d *decoder) varint() (uint64, error) { return d.groups(0) }

// header reads what appendHeader writes.
func (d *decoder) header() (follows bool, kind byte, count uint64, err error) {
	b, err := d.byte()
	if err != nil {
		return false, 0, 0, err
	}
	follows, kind, count = b&0x80 != 0, b>>4&7, uint64(b&7)
	if b&0x08 != 0 {
		count, err = d.groups(count)
	}
	return follows, kind, count, err
}

// pad rounds sectors up to where the next data may begin.
func pad(sectors int64) int64 { return (sectors + align - 1) &^ (align - 1) }

// sectorsFor is how many sectors hold so many bytes.
func sectorsFor(bytes int64) int64 { return (bytes + SectorSize - 1) / SectorSize }

// errSpace says that a volume is too small for what is to be written to it.
func errSpace(sectors, size int64) error {
	return fmt.Errorf("the volume has %d sectors, and %d are needed", size, sectors)
}
