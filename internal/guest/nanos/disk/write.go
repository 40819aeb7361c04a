package disk

import (
	"fmt"
	"io"
	"os"

	"github.com/unifaas/unifaas/internal/guest/nanos/tfs"
)

// kernelName is the file that the loader reads.
const kernelName = "kernel"

// A Spec says what a disk is made of.
type Spec struct {
	Loader *os.File // boot.img of Nanos, read from its beginning
	Kernel *os.File // kernel.img
	// Root are the root file system's options, and Fill puts its files there.
	Root tfs.Options
	Fill func(b *tfs.Builder, root tfs.Folder) error
}

// Write writes a disk into an empty file.
func Write(w *os.File, s Spec) error {
	loader, err := io.ReadAll(io.NewSectionReader(s.Loader, 0, maxLoader+1))
	if err != nil {
		return err
	}
	if err := CheckLoader(loader); err != nil {
		return fmt.Errorf("loader %q: %w", s.Loader.Name(), err)
	}
	if _, err := w.WriteAt(loader[tfs.SectorSize:], tfs.SectorSize); err != nil {
		return fmt.Errorf("write loader: %w", err)
	}
	boot := partition{at: firstPartition(int64(len(loader)))}
	boot.size, err = volume(w, boot.at, tfs.Options{}, func(b *tfs.Builder, root tfs.Folder) error {
		_, err := b.MakeFile(root, kernelName, s.Kernel, 0)
		return err
	})
	if err != nil {
		return fmt.Errorf("write boot file system: %w", err)
	}
	root := partition{at: boot.at + boot.size}
	if root.size, err = volume(w, root.at, s.Root, s.Fill); err != nil {
		return fmt.Errorf("write root file system: %w", err)
	}
	if end := root.at + root.size; end > maxDisk {
		return fmt.Errorf("a disk of %d bytes is larger than the %d that its partition table can address", end, maxDisk)
	}
	if _, err := w.WriteAt(sector(loader, boot, root), 0); err != nil {
		return fmt.Errorf("write boot sector: %w", err)
	}
	return nil
}

func volume(w *os.File, at int64, o tfs.Options, fill func(*tfs.Builder, tfs.Folder) error) (size int64, err error) {
	b, root, err := tfs.NewBuilder(w, at, o)
	if err != nil {
		return 0, err
	}
	if err := fill(b, root); err != nil {
		return 0, err
	}
	return b.Close()
}
