package formats

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"

	"github.com/unifaas/unifaas/internal/faas"
)

// Contents are what is in a file.
type Contents struct {
	Format  string   `json:"format"` // for people
	Size    int64    `json:"size"`   // bytes of the file
	Details []Detail `json:"details,omitempty"`
	Files   []File   `json:"files"`

	paths int // bytes of paths and targets so far
}

// A Detail is something that a format tells beside its files.
type Detail struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// A File is one file in a file.
type File struct {
	Path   string `json:"path"`
	Type   Type   `json:"type"`
	Mode   string `json:"mode,omitempty"` // permissions in octal; "" where the format has none
	Size   int64  `json:"size"`           // bytes of content
	Target string `json:"target,omitempty"`
}

// A Type is that of a file.
type Type string

// The types.
const (
	Folder  Type = "folder"
	Regular Type = "file"
	Symlink Type = "link"
	Other   Type = "other" // a device or the like
)

// A format is one that is known here.
type format struct {
	name string
	// recognise tells whether a file that begins with head may be of it. head
	// has headSize bytes, or the whole file.
	recognise func(head []byte) bool
	read      func(r io.ReaderAt, size int64, c *Contents) error
}

// headSize is as much of a file as tells what it is.
const headSize = 4096

// known are the formats; of two that recognise a file the first counts.
func known() []format {
	return []format{
		{"disk of OSv (ROFS)", recogniseOSvDisk, readOSvDisk},
		{"ROFS file system", recogniseROFS, readROFS},
		{"EROFS file system", recogniseEROFS, readEROFS},
		{"TFS file system", recogniseTFS, readTFS},
		{"initial file system of Linux (cpio)", recogniseCpio, readCpio},
		{"disk of Nanos (TFS)", recogniseNanosDisk, readNanosDisk},
	}
}

// Bounds of what is told of a file: who wrote it may mean ill.
const (
	maxFiles = 1 << 20
	maxPaths = 128 << 20 // bytes of their paths and targets together
)

// Inspect tells what is in the file at path. An error of kind invalid says that
// it is of no format that is known here, or broken.
func Inspect(path string) (*Contents, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a FIFO has nobody to wait for
	if err != nil {
		return nil, faas.Errorf(faas.KindNotFound, "inspect: %w", err)
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, faas.Errorf(faas.KindInvalid, "inspect %q: it is no regular file", path)
	}
	c, err := Read(f, info.Size())
	if err != nil {
		return nil, faas.Errorf(faas.KindInvalid, "inspect %q: %w", path, err)
	}
	return c, nil
}

// Read tells what is in the first size bytes of r.
func Read(r io.ReaderAt, size int64) (*Contents, error) {
	head := make([]byte, min(size, headSize))
	if n, err := r.ReadAt(head, 0); err != nil && (!errors.Is(err, io.EOF) || n < len(head)) {
		return nil, err
	}
	var names []string
	for _, f := range known() {
		names = append(names, f.name)
		if !f.recognise(head) {
			continue
		}
		c := &Contents{Format: f.name, Size: size, Files: []File{}}
		return c, f.read(r, size, c)
	}
	return nil, fmt.Errorf("it is of no format that is known here: %s", strings.Join(names, ", "))
}

// add adds a file.
func (c *Contents) add(f File) error {
	if len(c.Files) >= maxFiles {
		return fmt.Errorf("there are more than %d files in it", maxFiles)
	}
	if c.paths += len(f.Path) + len(f.Target); c.paths > maxPaths {
		return fmt.Errorf("the paths of the files in it take more than %d MiB", maxPaths>>20)
	}
	c.Files = append(c.Files, f)
	return nil
}

func (c *Contents) tell(name, value string) { c.Details = append(c.Details, Detail{name, value}) }
