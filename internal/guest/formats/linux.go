package formats

import (
	"bytes"
	"fmt"
	"io"
	"path"

	"golang.org/x/sys/unix"

	"github.com/unifaas/unifaas/internal/erofs"
	"github.com/unifaas/unifaas/internal/guest/linux/cpio"
)

func recogniseEROFS(head []byte) bool { return erofs.Recognise(head) }

func readEROFS(r io.ReaderAt, size int64, c *Contents) error {
	image, err := erofs.Open(r, size)
	if err != nil {
		return err
	}
	return image.Walk(func(p string, f erofs.Found) error {
		return c.add(ofMode(p, f.Mode, f.Size, f.Target))
	})
}

func recogniseCpio(head []byte) bool { return bytes.HasPrefix(head, []byte("070701")) }

func readCpio(r io.ReaderAt, size int64, c *Contents) error {
	return cpio.Read(io.NewSectionReader(r, 0, size), func(e cpio.Entry) error {
		return c.add(ofMode(path.Join("/", e.Name), e.Mode, e.Size, e.Target))
	})
}

// ofMode is a file with a mode as stat(2) has it.
func ofMode(p string, mode uint32, size int64, target string) File {
	f := File{Path: p, Type: Other, Mode: fmt.Sprintf("%04o", mode&0o7777), Target: target}
	switch mode & unix.S_IFMT {
	case unix.S_IFDIR:
		f.Type = Folder
	case unix.S_IFREG:
		f.Type, f.Size = Regular, size
	case unix.S_IFLNK:
		f.Type, f.Mode = Symlink, ""
	}
	return f
}
