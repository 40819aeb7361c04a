package osv

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"os"

	"github.com/unifaas/unifaas/internal/guest/osv/rofs"
)

// A disk is a master boot record and, in the partition of its second entry, a
// ROFS: OSv mounts /dev/vblk0.1, and counts partitions from 0 (OSv,
// fs/devfs/device.cc). The kernel is not on it.
const (
	sector         = 512
	firstSector    = 1 // of the partition
	tableAt        = 0x1be
	entrySize      = 16
	partition      = 1 // index of its entry
	partitionLinux = 0x83
	signatureAt    = 510
)

// mountTable has OSv mount what a program expects beside its root. /tmp is in
// the guest's memory.
const mountTable = `/dev/vblk0.1 / rofs defaults 0 0
none /dev devfs defaults 0 0
none /proc procfs defaults 0 0
none /sys sysfs defaults 0 0
none /tmp ramfs defaults 0 0
`

// extras are what every root file system has for OSv.
func extras() []rofs.Extra {
	return []rofs.Extra{
		{Path: "/etc/fstab", Text: mountTable}, {Path: "/dev"}, {Path: "/proc"}, {Path: "/sys"}, {Path: "/tmp"},
	}
}

// WriteDisk writes a disk with the tree below the folder rootfs, and edits made
// to it, to w, an empty file. See [rofs.Write].
func WriteDisk(ctx context.Context, w *os.File, rootfs string, edits []rofs.Edit) error {
	size, err := rofs.Write(ctx, w, firstSector*sector, rootfs, rofs.Changes{Extras: extras(), Edits: edits})
	if err != nil {
		return err
	}
	if size/sector > math.MaxUint32 {
		return fmt.Errorf("the tree %q is too large for a partition: %d bytes", rootfs, size)
	}
	_, err = w.WriteAt(bootRecord(uint32(size/sector)), 0)
	return err
}

// bootRecord is a master boot record of a partition of that many sectors.
func bootRecord(sectors uint32) []byte {
	b := make([]byte, sector)
	entry := b[tableAt+partition*entrySize:]
	// Where it begins and ends in cylinders, heads and sectors. OSv passes over
	// an entry without a first sector and looks at no more of it.
	copy(entry[1:], []byte{0, firstSector + 1, 0})
	entry[4] = partitionLinux
	copy(entry[5:], []byte{0xfe, 0xff, 0xff})
	binary.LittleEndian.PutUint32(entry[8:], firstSector)
	binary.LittleEndian.PutUint32(entry[12:], sectors)
	b[signatureAt], b[signatureAt+1] = 0x55, 0xaa
	return b
}

// RecogniseDisk tells whether a file that begins with head may be a disk of
// OSv.
func RecogniseDisk(head []byte) bool {
	offset, _, err := findPartition(head)
	return err == nil && offset < int64(len(head)) && rofs.Recognise(head[offset:])
}

// OpenDisk opens the file system on a disk in the first size bytes of r.
func OpenDisk(r io.ReaderAt, size int64) (*rofs.Image, error) {
	head := make([]byte, sector)
	if _, err := r.ReadAt(head, 0); err != nil {
		return nil, fmt.Errorf("read OSv disk: it has no boot record: %w", err)
	}
	offset, length, err := findPartition(head)
	if err != nil {
		return nil, fmt.Errorf("read OSv disk: %w", err)
	}
	if offset > size || length > size-offset {
		return nil, fmt.Errorf("read OSv disk: its partition ends at byte %d, and it has %d: it is truncated", offset+length, size)
	}
	return rofs.Open(io.NewSectionReader(r, offset, length), length)
}

// findPartition returns where the partition of a boot record is, in bytes.
func findPartition(head []byte) (offset, length int64, err error) {
	if len(head) < sector || head[signatureAt] != 0x55 || head[signatureAt+1] != 0xaa {
		return 0, 0, errors.New("it has no boot record")
	}
	entry := head[tableAt+partition*entrySize:]
	if entry[4] == 0 {
		return 0, 0, errors.New("its boot record has no second partition")
	}
	offset = int64(binary.LittleEndian.Uint32(entry[8:])) * sector
	return offset, int64(binary.LittleEndian.Uint32(entry[12:])) * sector, nil
}
