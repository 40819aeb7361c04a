package kernel

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
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// A Kind is where a kernel comes from.
type Kind string

// The kinds of kernels, the best first: the one that boots fastest.
const (
	KindSmall  Kind = "small"        // built from our configuration
	KindOwn    Kind = "own"          // added by the operator
	KindDebian Kind = "debian-cloud" // Debian's for virtual machines
)

// A Kernel is one that can be booted. Its files never change.
type Kernel struct {
	Digest  string // "sha256:..." of all of its files
	Kind    Kind
	Version string // as uname -r has it
	Source  string // the package and its version, the operator's file, or the configuration's digest
	// PVH says that the ELF kernel can be entered by Xen's protocol.
	PVH bool
	// Format is that of the file that was added.
	Format Format
	// Config are the options that are "y" or "m" in its configuration, without
	// CONFIG_; nil where it is not known.
	Config map[string]string `json:",omitempty"`
	// Drivers are the modules that it has, with those that each needs.
	Drivers map[string][]string `json:",omitempty"`

	Added time.Time
	dir   string
}

// Names of files in a kernel's folder.
const (
	metaFile  = "kernel.json"
	elfFile   = "vmlinux"
	imageFile = "bzImage"
	moduleDir = "modules"
)

// ELF is the path of the kernel as an ELF file.
func (k *Kernel) ELF() string { return filepath.Join(k.dir, elfFile) }

// BzImage is the path of the kernel in Linux's own format, "" when there is
// none.
func (k *Kernel) BzImage() string {
	if k.Format != FormatBzImage {
		return ""
	}
	return filepath.Join(k.dir, imageFile)
}

// ID is a short name for people and files.
func (k *Kernel) ID() string {
	return string(k.Kind) + "-" + strings.TrimPrefix(k.Digest, "sha256:")[:12]
}

// A Store keeps kernels in a folder, each in one of its own. Its methods may be
// called concurrently, and by several processes.
type Store struct {
	dir string
}

// NewStore returns the store in dir, which is made when it is needed.
func NewStore(dir string) *Store { return &Store{dir: dir} }

// ErrNone is returned by Default where there is no kernel.
var ErrNone = errors.New("there is no kernel for Linux guests; unifaas kernel install downloads Debian's")

// List returns all kernels, the best first.
func (s *Store) List() ([]*Kernel, error) {
	entries, err := os.ReadDir(s.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var all []*Kernel
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") || !e.IsDir() {
			continue
		}
		k, err := load(filepath.Join(s.dir, e.Name()))
		if err != nil {
			return nil, fmt.Errorf("read kernel %q: %w", e.Name(), err)
		}
		all = append(all, k)
	}
	order := []Kind{KindSmall, KindOwn, KindDebian}
	slices.SortFunc(all, func(a, b *Kernel) int {
		if c := slices.Index(order, a.Kind) - slices.Index(order, b.Kind); c != 0 {
			return c
		}
		return b.Added.Compare(a.Added)
	})
	return all, nil
}

// Default returns the kernel for functions that name none.
func (s *Store) Default() (*Kernel, error) {
	all, err := s.List()
	if err != nil {
		return nil, err
	}
	if len(all) == 0 {
		return nil, ErrNone
	}
	return all[0], nil
}

// Find returns the kernel with this digest, id or version.
func (s *Store) Find(name string) (*Kernel, error) {
	all, err := s.List()
	if err != nil {
		return nil, err
	}
	for _, k := range all {
		if name == k.Digest || name == k.ID() || name == k.Version {
			return k, nil
		}
	}
	return nil, fmt.Errorf("there is no kernel %q; unifaas kernel list names them", name)
}

// Remove removes a kernel. Machines that have booted it go on.
func (s *Store) Remove(ctx context.Context, k *Kernel) error {
	unlock, err := s.lock(ctx, shortWork)
	if err != nil {
		return err
	}
	defer unlock()
	return os.RemoveAll(filepath.Join(s.dir, k.ID()))
}

func load(dir string) (*Kernel, error) {
	text, err := os.ReadFile(filepath.Join(dir, metaFile))
	if err != nil {
		return nil, err
	}
	k := &Kernel{dir: dir}
	return k, json.Unmarshal(text, k)
}

// Work of one kind is done by one at a time: what takes a second, and builds,
// which take many minutes and keep nobody from the rest. Each is the beginning
// of the names of its files in the store.
const (
	shortWork = ".new-"
	buildWork = ".build-"
)

// lock keeps others from doing work of a kind.
func (s *Store) lock(ctx context.Context, work string) (unlock func(), err error) {
	if err := os.MkdirAll(s.dir, 0o755); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(s.dir, work+"lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return func() { _ = f.Close() }, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			return nil, errors.Join(fmt.Errorf("lock the kernels in %s: %w", s.dir, err), f.Close())
		}
		select {
		case <-ctx.Done():
			return nil, errors.Join(fmt.Errorf("wait for another who changes the kernels: %w", ctx.Err()), f.Close())
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// workspace returns a folder for a kernel in the making, after what a crash has
// left of others is gone. The caller holds the lock and calls remove.
func (s *Store) workspace(work string) (dir string, remove func(), err error) {
	left, err := filepath.Glob(filepath.Join(s.dir, work+"[0-9]*"))
	if err != nil {
		return "", nil, err
	}
	for _, l := range left {
		if err := os.RemoveAll(l); err != nil {
			return "", nil, err
		}
	}
	if dir, err = os.MkdirTemp(s.dir, work); err != nil {
		return "", nil, err
	}
	return dir, func() { _ = os.RemoveAll(dir) }, nil // or else the next one does
}

// put writes a kernel's files into dir, a workspace, and moves it to its place.
// The folder modules is in dir already, if there is one.
func (s *Store) put(dir string, k *Kernel, data []byte) (*Kernel, error) {
	image, vmlinux, err := Inspect(data)
	if err != nil {
		return nil, err
	}
	k.Version, k.Format, k.PVH, k.Added = image.Version, image.Format, image.PVH, time.Now().UTC()
	if k.Config == nil {
		if k.Config, err = embeddedConfig(vmlinux); err != nil {
			return nil, err
		}
	}
	if err := os.Mkdir(filepath.Join(dir, moduleDir), 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(dir, elfFile), vmlinux, 0o644); err != nil {
		return nil, err
	}
	if k.Format == FormatBzImage {
		if err := os.WriteFile(filepath.Join(dir, imageFile), data, 0o644); err != nil {
			return nil, err
		}
	}
	if k.Digest, err = digest(dir); err != nil {
		return nil, err
	}
	text, err := json.MarshalIndent(k, "", "\t")
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(dir, metaFile), text, 0o644); err != nil {
		return nil, err
	}
	return s.publish(dir, k)
}

// publish moves a whole kernel to its place. Its content is on disk before its
// name is.
func (s *Store) publish(dir string, k *Kernel) (*Kernel, error) {
	to := filepath.Join(s.dir, k.ID())
	if there, err := load(to); err == nil {
		return there, nil
	}
	if err := os.RemoveAll(to); err != nil { // damaged
		return nil, err
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		return nil, err
	}
	if err := syncTree(dir); err != nil {
		return nil, err
	}
	if err := os.Rename(dir, to); err != nil {
		if there, loadErr := load(to); loadErr == nil { // another was faster
			return there, nil
		}
		return nil, err
	}
	k.dir = to
	return k, syncFile(s.dir)
}

func syncTree(dir string) error {
	return filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return syncFile(path)
	})
}

func syncFile(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// digest is over the names and contents of a folder's files.
func digest(dir string) (string, error) {
	sum := sha256.New()
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		name, err := filepath.Rel(dir, path)
		one := sha256.Sum256(content)
		fmt.Fprintf(sum, "%x %s\n", one, name)
		return err
	})
	return "sha256:" + hex.EncodeToString(sum.Sum(nil)), err
}
