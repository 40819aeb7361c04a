package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"github.com/unifaas/unifaas/internal/catalog"
	"github.com/unifaas/unifaas/internal/config"
	"github.com/unifaas/unifaas/internal/faas"
	"github.com/unifaas/unifaas/internal/guest"
	"github.com/unifaas/unifaas/internal/guest/assets"
	"github.com/unifaas/unifaas/internal/guest/linux"
	"github.com/unifaas/unifaas/internal/image"
	"github.com/unifaas/unifaas/internal/sandbox/all"
	"github.com/unifaas/unifaas/internal/vmm"
)

// imageBuildCmd makes in a folder of its own what the platform makes in its
// state. The addresses are those of QEMU's user network unless others are named.
type imageBuildCmd struct {
	output
	config.Sandboxes
	Sandbox string       `required:"" enum:"linux,nanos,osv" help:"The guest system: linux, nanos or osv."`
	Output  string       `required:"" short:"o" placeholder:"FILE" help:"What to write: a disk, or an initial file system. A second file is FILE.2, a kernel that was made or copied FILE.kernel."`
	Address netip.Prefix `default:"10.0.2.15/24" help:"Address of the machine, and the length of its network's prefix."`
	Gateway netip.Addr   `default:"10.0.2.2" help:"Address of its gateway."`
	Folder  string       `arg:"" help:"Of the function: with its function.toml."`
}

// built is what was written.
type built struct {
	Files   []string `json:"files"`
	Boot    vmm.Boot `json:"boot"`
	Kernel  string   `json:"kernel,omitempty"`  // path
	Cmdline string   `json:"cmdline,omitempty"` // for it
}

func (c *imageBuildCmd) Run(e *env) error {
	if err := c.checkNetwork(); err != nil {
		return err
	}
	parent, err := filepath.Abs(filepath.Dir(c.Output))
	if err != nil {
		return err
	}
	work, err := os.MkdirTemp(parent, ".unifaas-build-")
	if err != nil {
		return fmt.Errorf("make a folder for work: %w", err)
	}
	defer func() { _ = os.RemoveAll(work) }()
	rev, err := c.revision(e.ctx, work)
	if err != nil {
		return err
	}
	b, err := c.build(e, work, rev)
	if err != nil {
		return err
	}
	return c.print(e.stdout, b, func(w io.Writer) {
		fmt.Fprintf(w, "wrote %s\n", strings.Join(b.Files, " and "))
		if b.Cmdline != "" {
			fmt.Fprintf(w, "kernel %s with the command line\n%s\n", b.Kernel, b.Cmdline)
		}
	})
}

// checkNetwork refuses what no guest system can be told.
func (c *imageBuildCmd) checkNetwork() error {
	switch {
	case !c.Address.Addr().Is4() || !c.Gateway.Is4():
		return faas.Errorf(faas.KindInvalid, "--address %v and --gateway %v: both must be IPv4", c.Address, c.Gateway)
	case c.Address.Bits() == 0 || !c.Address.Contains(c.Gateway):
		return faas.Errorf(faas.KindInvalid, "--gateway %v is not in the network of --address %v", c.Gateway, c.Address)
	}
	return nil
}

// revision reads the function and its image.
func (c *imageBuildCmd) revision(ctx context.Context, work string) (*faas.Revision, error) {
	dir, err := filepath.Abs(c.Folder)
	if err != nil {
		return nil, err
	}
	file := filepath.Join(dir, catalog.FileName)
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, faas.Errorf(faas.KindNotFound, "read function: %w", err)
	}
	fn, err := catalog.Decode(text, catalog.DecodeOptions{Ref: faas.NewRef(baseName(dir)), File: file, Dir: dir, Sandboxes: faas.Sandboxes()})
	if err != nil {
		return nil, err
	}
	mine := *fn
	mine.Sandbox = c.Sandbox
	store, err := image.Open(filepath.Join(work, "store"), image.Options{})
	if err != nil {
		return nil, err
	}
	img, err := store.Resolve(ctx, &mine)
	if err = errors.Join(err, store.Close()); err != nil {
		return nil, err
	}
	return catalog.NewRevision(&mine, img)
}

// build makes the image and takes it out of the folder for work.
func (c *imageBuildCmd) build(e *env, work string, rev *faas.Revision) (*built, error) {
	s := settings(c.Sandboxes, e.dirs)
	s.Assets = cmp.Or(s.Assets, assets.Dir(e.dirs.StateDir))
	s.Kernels = cmp.Or(s.Kernels, linux.Kernels(e.dirs.StateDir))
	for _, system := range all.Systems(work, s) {
		if system.Name() != c.Sandbox {
			continue
		}
		made, err := system.Prepare(e.ctx, rev, guest.Machine{
			Monitor: "qemu", Accelerator: vmm.KVM, Boots: []vmm.Boot{vmm.BootLinux, vmm.BootPVH, vmm.BootDisk}, PCI: true, PowersOff: true,
		})
		if err != nil {
			return nil, err
		}
		return c.take(made, work)
	}
	return nil, faas.Errorf(faas.KindInvalid, "there is no guest system %q", c.Sandbox)
}

// take moves an image's files out of the folder for work to where they were asked
// for, as one machine's. On error there is none.
func (c *imageBuildCmd) take(made *guest.Image, work string) (b *built, err error) {
	instance := guest.Instance{ID: "outside", Guest: c.Address.Addr(), Gateway: netip.PrefixFrom(c.Gateway, c.Address.Bits())}
	b = &built{Boot: made.Boot, Kernel: made.Kernel}
	if made.Cmdline != nil {
		b.Cmdline = made.Cmdline(instance)
	}
	defer func() {
		for _, path := range b.Files {
			if err != nil {
				err = errors.Join(err, os.Remove(path))
			}
		}
	}()
	put := func(d guest.Disk, to string) error {
		if err := place(d, instance, to); err != nil {
			return fmt.Errorf("write %q: %w", to, err)
		}
		b.Files = append(b.Files, to)
		return nil
	}
	disks := made.Disks
	if made.Initrd != "" {
		disks = append([]guest.Disk{{Path: made.Initrd}}, disks...)
	}
	for i, d := range disks {
		to := c.Output
		if i > 0 {
			to = fmt.Sprintf("%s.%d", c.Output, i+1)
		}
		if err := put(d, to); err != nil {
			return b, err
		}
	}
	if !strings.HasPrefix(made.Kernel, work+"/") {
		return b, nil // it stays where it is
	}
	b.Kernel = c.Output + ".kernel"
	return b, put(guest.Disk{Path: made.Kernel}, b.Kernel)
}

// place moves a file to its place, with what one machine alone is told in it.
func place(d guest.Disk, i guest.Instance, to string) error {
	if err := os.Chmod(d.Path, 0o644); err != nil {
		return err
	}
	if d.Patch != nil {
		f, err := os.OpenFile(d.Path, os.O_RDWR, 0)
		if err != nil {
			return err
		}
		if err := errors.Join(d.Patch(f, i), f.Close()); err != nil {
			return err
		}
	}
	// The folder for work is on the same file system.
	return os.Rename(d.Path, to)
}
