package disk

import (
	"errors"
	"fmt"
	"io"

	"github.com/unifaas/unifaas/internal/guest/nanos/tfs"
)

// A Disk is one that was read.
type Disk struct {
	// Boot holds the kernel, Root all else.
	Boot, Root *tfs.Volume
	// RootAt is where the root file system begins, bytes.
	RootAt int64
}

// Open reads a disk of size bytes.
func Open(r io.ReaderAt, size int64) (*Disk, error) {
	d, err := open(r, size)
	if err != nil {
		return nil, fmt.Errorf("read disk: %w", err)
	}
	return d, nil
}

func open(r io.ReaderAt, size int64) (*Disk, error) {
	var first [tfs.SectorSize]byte
	if _, err := r.ReadAt(first[:], 0); err != nil {
		return nil, errors.New("it is shorter than a boot sector")
	}
	all, err := partitions(first[:])
	if err != nil {
		return nil, err
	}
	if len(all) < 2 {
		return nil, fmt.Errorf("it has %d partitions, want those of the kernel and of the root file system", len(all))
	}
	// One for UEFI may come first.
	all = all[len(all)-2:]
	var volumes [2]*tfs.Volume
	for i, p := range all {
		if p.at > size || p.size > size-p.at {
			return nil, fmt.Errorf("partition %d (%d bytes from %d on) is not all in the disk's %d bytes", i+1, p.size, p.at, size)
		}
		if volumes[i], err = tfs.Open(io.NewSectionReader(r, p.at, p.size), p.size); err != nil {
			return nil, fmt.Errorf("partition %d: %w", i+1, err)
		}
	}
	return &Disk{Boot: volumes[0], Root: volumes[1], RootAt: all[1].at}, nil
}

// Kernel returns the kernel in the boot file system.
func (d *Disk) Kernel() (*io.SectionReader, error) {
	root, err := d.Boot.Root()
	if err != nil {
		return nil, err
	}
	entries, err := root.Entries()
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if e.Name == kernelName && e.Type == tfs.FileType {
			return e.Content(), nil
		}
	}
	return nil, errors.New("the boot file system has no kernel")
}
