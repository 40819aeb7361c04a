package linux

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/unifaas/unifaas/internal/erofs"
	"github.com/unifaas/unifaas/internal/faas"
	"github.com/unifaas/unifaas/internal/guest/linux/kernel"
	"github.com/unifaas/unifaas/internal/guest/made"
	"github.com/unifaas/unifaas/internal/image/archive"
	"github.com/unifaas/unifaas/internal/oci"
)

// A Root says where a guest has the function's root.
type Root string

// The places of a root.
const (
	// RootAuto is the initial file system for a small root, else a disk.
	RootAuto Root = ""
	// RootInitial is the initial file system: nothing to mount, and a copy in
	// the memory of each guest.
	RootInitial Root = "initial"
	// RootEROFS is a read-only disk, whose pages guests share on the host, and
	// of which each has in its memory what it has read.
	RootEROFS Root = "erofs"
	// RootExt4 is the same in the format that any kernel reads.
	RootExt4 Root = "ext4"
)

// driver is what reads a root on a disk; "" is no disk.
func (r Root) driver() kernel.Driver {
	switch r {
	case RootEROFS:
		return kernel.DriverEROFS
	case RootExt4:
		return kernel.DriverExt4
	}
	return ""
}

// largestInitial is the largest root, in bytes, that is put into the initial
// file system where nobody says.
const largestInitial = 4 << 20

// ImageOptions are what an image is made of beside the revision.
type ImageOptions struct {
	// Dir is the folder of images, which is made when it is needed.
	Dir    string
	Kernel *kernel.Kernel
	// Drivers are those of the machine: how it finds its devices, its network.
	// Those that the image itself needs are added.
	Drivers []kernel.Driver
	Root    Root
}

// An Image is what all guests of a revision on one kind of machine share.
type Image struct {
	Digest string // of everything in it but the kernel
	Kernel *kernel.Kernel
	Initrd string // path of the initial file system
	Disk   string // path of the read-only first disk; "" when there is none
}

// imageVersion changes with what is written for the same input.
const imageVersion = 2

// MakeImage returns the image of a revision, made unless it is there. It may be
// called concurrently, by several processes, and be killed at any time.
func MakeImage(ctx context.Context, rev *faas.Revision, o ImageOptions) (*Image, error) {
	image, err := makeImage(ctx, rev, o)
	if err != nil {
		return nil, fmt.Errorf("make image of function %q: %w", rev.Function.Ref, err)
	}
	return image, nil
}

func makeImage(ctx context.Context, rev *faas.Revision, o ImageOptions) (*Image, error) {
	root, err := o.root(rev)
	if err != nil {
		return nil, err
	}
	drivers, fileSystem := o.Drivers, root.driver()
	if fileSystem != "" {
		drivers = append(drivers[:len(drivers):len(drivers)], kernel.DriverBlock, fileSystem)
	}
	p, err := NewPlan(rev, string(fileSystem))
	if err != nil {
		return nil, err
	}
	modules, err := o.Kernel.Modules(drivers...)
	if err != nil {
		return nil, err
	}
	program, err := InitProgram()
	if err != nil {
		return nil, err
	}
	image := &Image{Kernel: o.Kernel}
	sum := sha256.New()
	err = json.NewEncoder(sum).Encode([]any{imageVersion, p, modules, o.Kernel.Digest, rev.Image.Digest, sha256.Sum256(program)})
	if err != nil {
		return nil, err
	}
	image.Digest = "sha256:" + hex.EncodeToString(sum.Sum(nil))
	image.Initrd = filepath.Join(o.Dir, made.Name(rev.Image)+"-"+hex.EncodeToString(sum.Sum(nil))[:32]+".initrd")
	if fileSystem != "" {
		// By the root's content alone: revisions that differ in the rest share it.
		image.Disk = filepath.Join(o.Dir, made.Name(rev.Image)+"."+string(root))
		if err := made.Ensure(image.Disk, func(f *os.File) error { return writeDisk(ctx, f, rev.Image.Rootfs, root) }); err != nil {
			return nil, fmt.Errorf("write disk: %w", err)
		}
	}
	return image, made.Ensure(image.Initrd, func(f *os.File) error {
		return errors.Join(WriteBase(f, modules), WriteFunction(f, p, rev.Image.Rootfs))
	})
}

func writeDisk(ctx context.Context, f *os.File, rootfs string, root Root) error {
	owner0, directories := os.Geteuid() != 0, oci.MountPoints()
	if root == RootExt4 {
		return writeExt4(ctx, f, rootfs, archive.Options{Owner0: owner0, Directories: directories})
	}
	return erofs.Write(ctx, f, rootfs, erofs.Options{Owner0: owner0, Directories: directories})
}

// root decides where the root is.
func (o *ImageOptions) root(rev *faas.Revision) (Root, error) {
	if o.Root != RootAuto || rev.Image.Rootfs == "" {
		return o.Root, nil
	}
	small, err := smaller(rev.Image.Rootfs, largestInitial)
	switch {
	case err != nil:
		return "", err
	case small || !o.Kernel.Has(kernel.DriverEROFS) || !o.Kernel.Has(kernel.DriverBlock):
		return RootInitial, nil
	}
	return RootEROFS, nil
}

var errLarge = errors.New("larger")

// smaller tells whether the files below dir have at most limit bytes. It looks
// no further than it must.
func smaller(dir string, limit int64) (bool, error) {
	var total int64
	err := filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		if total += info.Size(); total > limit {
			return errLarge
		}
		return nil
	})
	if errors.Is(err, errLarge) {
		return false, nil
	}
	return err == nil, err
}
