package disk

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/unifaas/unifaas/internal/guest/nanos/tfs"
)

// Offsets in the first sector, whose end is a PC's partition table. The loader
// says in front of that how long the rest of it is.
const (
	loaderBase   = tfs.SectorSize - 2 - 4*entrySize - 20 // 8 bytes: where it is loaded; 8: its length; 4: type
	loaderLength = loaderBase + 8
	loaderType   = loaderBase + 16
	tableAt      = tfs.SectorSize - 2 - 4*entrySize
	signatureAt  = tfs.SectorSize - 2

	entrySize  = 16
	signature  = 0xaa55
	fileSystem = 12 // the type of what is told: where file systems begin
)

const (
	// messages is where the kernel keeps its last messages, in front of the
	// first partition, bytes.
	messages = 4 << 10
	// pageSize is what partitions begin at a multiple of, bytes: a block of the
	// host's file system.
	pageSize = 4 << 10
	// maxLoader is far above the length of any loader, bytes.
	maxLoader = 1 << 20
)

// A partition is a run of bytes.
type partition struct{ at, size int64 }

// CheckLoader tells whether something is a boot.img of Nanos.
func CheckLoader(loader []byte) error {
	if len(loader) < 2*tfs.SectorSize || len(loader) > maxLoader || len(loader)%tfs.SectorSize != 0 {
		return fmt.Errorf("it has %d bytes: no loader and its boot sector", len(loader))
	}
	if binary.LittleEndian.Uint16(loader[signatureAt:]) != signature {
		return errors.New("it has no boot sector: the signature 0xaa55 is missing")
	}
	if binary.LittleEndian.Uint32(loader[loaderType:]) != fileSystem {
		return errors.New("its boot sector is not of Nanos: it does not say where file systems begin")
	}
	if n := binary.LittleEndian.Uint64(loader[loaderLength:]); n != uint64(len(loader)-tfs.SectorSize) {
		return fmt.Errorf("it is cut off: its boot sector says that %d bytes follow, and there are %d", n, len(loader)-tfs.SectorSize)
	}
	return nil
}

// firstPartition is where it begins behind a loader of so many bytes.
func firstPartition(loader int64) int64 { return pad(loader + messages) }

func pad(n int64) int64 { return (n + pageSize - 1) &^ (pageSize - 1) }

// sector returns the first sector with the partitions in its table.
func sector(loader []byte, partitions ...partition) []byte {
	s := append([]byte(nil), loader[:tfs.SectorSize]...)
	for i, p := range partitions {
		e := s[tableAt+i*entrySize:][:entrySize]
		e[0], e[4] = 0x80, 0x83 // active; of a kind that boot programs pass over
		copy(e[1:4], cylinders(p.at))
		copy(e[5:8], cylinders(p.at+p.size-tfs.SectorSize))
		binary.LittleEndian.PutUint32(e[8:], uint32(p.at/tfs.SectorSize))
		binary.LittleEndian.PutUint32(e[12:], uint32(p.size/tfs.SectorSize))
	}
	return s
}

// cylinders is a position as a PC's BIOS once had it: head, sector and the high
// bits of the cylinder, its low bits; of 255 heads and 63 sectors.
func cylinders(at int64) []byte {
	const heads, sectors, last = 255, 63, 1023
	n := at / tfs.SectorSize
	cylinder, head, sector := n/sectors/heads, n/sectors%heads, n%sectors+1
	if cylinder > last {
		cylinder, head, sector = last, heads-1, sectors
	}
	return []byte{byte(head), byte(cylinder>>2&0xc0 | sector), byte(cylinder)}
}

// partitions reads the table of a first sector.
func partitions(s []byte) ([]partition, error) {
	if binary.LittleEndian.Uint16(s[signatureAt:]) != signature {
		return nil, errors.New("it has no boot sector: the signature 0xaa55 is missing")
	}
	var all []partition
	for i := range 4 {
		e := s[tableAt+i*entrySize:][:entrySize]
		if e[4] == 0 {
			break
		}
		all = append(all, partition{
			int64(binary.LittleEndian.Uint32(e[8:])) * tfs.SectorSize,
			int64(binary.LittleEndian.Uint32(e[12:])) * tfs.SectorSize,
		})
	}
	return all, nil
}

// maxDisk is what the table can address, bytes.
const maxDisk = int64(1) << 32 * tfs.SectorSize
