package formats

import (
	"bytes"
	"fmt"
	"io"
	"strings"

	"github.com/unifaas/unifaas/internal/guest/nanos/disk"
	"github.com/unifaas/unifaas/internal/guest/nanos/tfs"
)

// recogniseNanosDisk: a disk with the first sector of a PC's, which is asked
// after the more particular ones.
func recogniseNanosDisk(head []byte) bool {
	const signature = 510
	return len(head) > signature+1 && head[signature] == 0x55 && head[signature+1] == 0xaa
}

func readNanosDisk(r io.ReaderAt, size int64, c *Contents) error {
	d, err := disk.Open(r, size)
	if err != nil {
		return err
	}
	kernel, err := d.Kernel()
	if err != nil {
		return err
	}
	c.tell("kernel", fmt.Sprintf("%d bytes", kernel.Size()))
	return tellVolume(d.Root, c)
}

func recogniseTFS(head []byte) bool { return bytes.HasPrefix(head, []byte("NVMTFS")) }

func readTFS(r io.ReaderAt, size int64, c *Contents) error {
	v, err := tfs.Open(r, size)
	if err != nil {
		return err
	}
	c.tell("label", v.Label)
	return tellVolume(v, c)
}

func tellVolume(v *tfs.Volume, c *Contents) error {
	manifest, err := v.Attributes()
	if err != nil {
		return err
	}
	for _, a := range manifest {
		c.tell(a.Name, show(a.Value))
	}
	types := map[tfs.Type]Type{tfs.FolderType: Folder, tfs.FileType: Regular, tfs.LinkType: Symlink}
	return v.Walk(func(p string, n tfs.Node) error {
		return c.add(File{Path: "/" + strings.TrimPrefix(p, "/"), Type: types[n.Type], Size: n.Size, Target: n.Target})
	})
}

// show is a value of a manifest in one line.
func show(v tfs.Value) string {
	tuple, ok := v.(tfs.Tuple)
	if !ok {
		return fmt.Sprint(v)
	}
	var parts []string
	for _, a := range tuple {
		parts = append(parts, a.Name+":"+show(a.Value))
	}
	return "(" + strings.Join(parts, " ") + ")"
}
