package kernel

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// A Driver is a part of the kernel that a guest may need.
type Driver string

// The drivers, by the names of their modules.
const (
	DriverMMIO     Driver = "virtio_mmio" // devices in memory: microvm, Firecracker
	DriverPCI      Driver = "virtio_pci"  // devices on a PCI bus: q35
	DriverNet      Driver = "virtio_net"
	DriverBlock    Driver = "virtio_blk"
	DriverRandom   Driver = "virtio_rng"
	DriverVsock    Driver = "vmw_vsock_virtio_transport"
	DriverEROFS    Driver = "erofs"
	DriverSquashFS Driver = "squashfs"
	DriverExt4     Driver = "ext4"
	DriverOverlay  Driver = "overlay"
)

// options are the kernel's options that build a driver in.
var options = map[Driver]string{
	DriverMMIO: "VIRTIO_MMIO", DriverPCI: "VIRTIO_PCI", DriverNet: "VIRTIO_NET", DriverBlock: "VIRTIO_BLK",
	DriverRandom: "HW_RANDOM_VIRTIO", DriverVsock: "VIRTIO_VSOCKETS", DriverEROFS: "EROFS_FS",
	DriverSquashFS: "SQUASHFS", DriverExt4: "EXT4_FS", DriverOverlay: "OVERLAY_FS",
}

// A Module is a file that the kernel loads.
type Module struct {
	Name string
	Path string
}

// Modules returns what must be loaded to have these drivers, in this order.
// Of a kernel that tells neither its configuration nor its modules it is taken
// for granted that they are built in.
func (k *Kernel) Modules(drivers ...Driver) ([]Module, error) {
	var order []string
	for _, d := range drivers {
		switch _, have := k.Drivers[string(d)]; {
		case have:
			order = inOrder(order, k.Drivers, string(d))
		case k.Config == nil || k.Config[options[d]] == "y":
		default:
			return nil, fmt.Errorf("kernel %s has no driver %s (CONFIG_%s)", k.Version, d, options[d])
		}
	}
	var all []Module
	for _, name := range order {
		all = append(all, Module{Name: name, Path: filepath.Join(k.dir, moduleDir, name+".ko")})
	}
	return all, nil
}

// Has tells whether the kernel has a driver, and true when that is not known.
func (k *Kernel) Has(d Driver) bool {
	_, err := k.Modules(d)
	return err == nil
}

// inOrder appends a module after those that it needs, unless it is there.
func inOrder(order []string, needs map[string][]string, name string) []string {
	if slices.Contains(order, name) {
		return order
	}
	for _, n := range needs[name] {
		order = inOrder(order, needs, n)
	}
	return append(order, name)
}

// A Tree is the modules below a folder, by name.
type Tree map[string]string

// FindModules returns the modules below dir.
func FindModules(dir string) (Tree, error) {
	tree := Tree{}
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if module, ok := strings.CutSuffix(filepath.Base(path), ".ko"); ok {
			tree[moduleName(module)] = path
		}
		return err
	})
	return tree, err
}

// moduleName is how modules name each other: both characters mean the same.
func moduleName(file string) string { return strings.ReplaceAll(file, "-", "_") }

// WithNeeded returns modules and those that they need, in the order in which
// they must be loaded.
func (t Tree) WithNeeded(modules ...string) ([]string, error) {
	needs := map[string][]string{}
	var order []string
	for _, name := range modules {
		name = moduleName(name)
		if err := t.collect(needs, name); err != nil {
			return nil, err
		}
		order = inOrder(order, needs, name)
	}
	return order, nil
}

// collect reads what a module needs, and what that needs.
func (t Tree) collect(needs map[string][]string, name string) error {
	if _, ok := needs[name]; ok {
		return nil
	}
	path, ok := t[name]
	if !ok {
		return fmt.Errorf("the kernel has no module %q", name)
	}
	info, err := moduleInfo(path)
	if err != nil {
		return fmt.Errorf("read module %q: %w", name, err)
	}
	needs[name] = dependencies(info)
	for _, n := range needs[name] {
		if err := t.collect(needs, n); err != nil {
			return err
		}
	}
	return nil
}

// moduleInfo reads a module's section of "name=value" strings, which end with
// a NUL.
func moduleInfo(path string) (string, error) {
	file, err := elf.Open(path)
	if err != nil {
		return "", err
	}
	defer func() { _ = file.Close() }()
	section := file.Section(".modinfo")
	if section == nil {
		return "", errors.New("it is no kernel module")
	}
	data, err := section.Data()
	return string(data), err
}

func dependencies(info string) []string {
	var needed []string
	for entry := range strings.SplitSeq(info, "\x00") {
		list, ok := strings.CutPrefix(entry, "depends=")
		for name := range strings.SplitSeq(list, ",") {
			if ok && name != "" {
				needed = append(needed, moduleName(name))
			}
		}
	}
	return needed
}

// signatureMark ends a signed module (Linux, include/linux/module_signature.h);
// before it are 12 bytes of which the last four are the signature's length.
const signatureMark = "~Module signature appended~\n"

const signatureInfo = 12

// unsigned returns a module without its signature. Where nothing demands one
// the kernel takes it, too, and is spared the verification: dozens of
// milliseconds for each where it is emulated. Who can change the file here can
// change the kernel beside it.
func unsigned(module []byte) []byte {
	body, ok := bytes.CutSuffix(module, []byte(signatureMark))
	if !ok || len(body) < signatureInfo {
		return module
	}
	length := uint64(binary.BigEndian.Uint32(body[len(body)-4:]))
	body = body[:len(body)-signatureInfo]
	if length > uint64(len(body)) {
		return module
	}
	return body[:uint64(len(body))-length]
}

// addModules copies the modules of the drivers that a kernel has below from,
// and those that they need, into dir.
func addModules(k *Kernel, tree Tree, dir string) error {
	k.Drivers = map[string][]string{}
	for _, d := range slices.Sorted(maps.Keys(options)) {
		if _, ok := tree[string(d)]; ok {
			if err := tree.collect(k.Drivers, string(d)); err != nil {
				return err
			}
		}
	}
	if err := os.Mkdir(filepath.Join(dir, moduleDir), 0o755); err != nil {
		return err
	}
	for name := range k.Drivers {
		module, err := os.ReadFile(tree[name])
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, moduleDir, name+".ko"), unsigned(module), 0o644); err != nil {
			return err
		}
	}
	return nil
}
