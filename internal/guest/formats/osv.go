package formats

import (
	"io"

	"github.com/unifaas/unifaas/internal/guest/osv"
	"github.com/unifaas/unifaas/internal/guest/osv/rofs"
)

func recogniseOSvDisk(head []byte) bool { return osv.RecogniseDisk(head) }

func readOSvDisk(r io.ReaderAt, size int64, c *Contents) error {
	image, err := osv.OpenDisk(r, size)
	if err != nil {
		return err
	}
	return listROFS(image, c)
}

func recogniseROFS(head []byte) bool { return rofs.Recognise(head) }

func readROFS(r io.ReaderAt, size int64, c *Contents) error {
	image, err := rofs.Open(r, size)
	if err != nil {
		return err
	}
	return listROFS(image, c)
}

func listROFS(image *rofs.Image, c *Contents) error {
	types := map[rofs.Kind]Type{rofs.Dir: Folder, rofs.File: Regular, rofs.Symlink: Symlink}
	return image.Walk(func(p string, f rofs.Found) error {
		return c.add(File{Path: p, Type: types[f.Kind], Size: f.Size, Target: f.Target})
	})
}
