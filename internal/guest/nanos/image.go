package nanos

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"

	"github.com/unifaas/unifaas/internal/faas"
	"github.com/unifaas/unifaas/internal/guest/assets"
	"github.com/unifaas/unifaas/internal/guest/made"
	"github.com/unifaas/unifaas/internal/guest/nanos/disk"
	"github.com/unifaas/unifaas/internal/guest/nanos/tfs"
	"github.com/unifaas/unifaas/internal/oci"
)

const (
	// imageVersion changes with what is written for the same input.
	imageVersion = 1
	// patchRoom is kept free for what differs between instances, bytes: a patch
	// that is larger takes more time, no more.
	patchRoom = 4 << 10
	// scratchLabel names the volume that is mounted on /tmp.
	scratchLabel = "tmp"
	// defaultDisk is the writable space of a function that names none, bytes.
	defaultDisk = 64 << 20
)

// makeDisk returns the path of the disk of a revision, made unless it is there.
func (s *System) makeDisk(ctx context.Context, rev *faas.Revision, p *plan, set *assets.Set) (string, error) {
	path, id, err := s.file(rev, ".disk", p, set.Digest, rev.Image.Digest)
	if err != nil {
		return "", err
	}
	o := tfs.Options{ID: id, Label: "root", Attributes: p.manifest(), Room: patchRoom}
	return path, made.Ensure(path, func(f *os.File) error { return write(ctx, f, rev.Image.Rootfs, p, set, o) })
}

// makeScratch returns the path of the disk that each instance has a copy of for
// its /tmp: a volume without a partition, which is empty but for its size.
func (s *System) makeScratch(rev *faas.Revision) (string, error) {
	free := rev.Function.Limits.Disk
	if free == 0 {
		free = defaultDisk
	}
	path, id, err := s.file(rev, ".tmp", free)
	if err != nil {
		return "", err
	}
	return path, made.Ensure(path, func(f *os.File) error {
		b, _, err := tfs.NewBuilder(f, 0, tfs.Options{ID: id, Label: scratchLabel, Free: free})
		if err == nil {
			_, err = b.Close()
		}
		return err
	})
}

// file returns the path and the identifier of what is made of parts.
func (s *System) file(rev *faas.Revision, suffix string, parts ...any) (path string, id [16]byte, err error) {
	sum := sha256.New()
	if err := json.NewEncoder(sum).Encode(append(parts, imageVersion)); err != nil {
		return "", id, err
	}
	id = [16]byte(sum.Sum(nil))
	return filepath.Join(s.images, made.Name(rev.Image)+"-"+hex.EncodeToString(id[:])+suffix), id, nil
}

func write(ctx context.Context, w *os.File, rootfs string, p *plan, set *assets.Set, o tfs.Options) error {
	loader, err := set.Open(loaderFile)
	if err != nil {
		return faas.Errorf(faas.KindUnavailable, "kernel of Nanos: %w", err)
	}
	defer func() { _ = loader.Close() }()
	kernel, err := set.Open(kernelFile)
	if err != nil {
		return faas.Errorf(faas.KindUnavailable, "kernel of Nanos: %w", err)
	}
	defer func() { _ = kernel.Close() }()
	return disk.Write(w, disk.Spec{
		Loader: loader, Kernel: kernel, Root: o,
		Fill: func(b *tfs.Builder, root tfs.Folder) error {
			return b.AddTree(ctx, root, tfs.Tree{Dir: rootfs, Directories: append(oci.MountPoints(), p.Dir)})
		},
	})
}

// openPatch returns the patch of copies of a disk, and where it is applied.
func openPatch(path string) (*tfs.Patch, int64, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, 0, err
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return nil, 0, err
	}
	d, err := disk.Open(f, info.Size())
	if err != nil {
		return nil, 0, err
	}
	return d.Root.NewPatch(), d.RootAt, nil
}
