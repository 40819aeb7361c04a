package deploy

import (
	"archive/tar"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"

	"github.com/unifaas/unifaas/internal/faas"
)

// A Packer writes a bundle.
type Packer struct{ tar *tar.Writer }

// NewPacker returns a packer that writes to w. Close it when all is added.
func NewPacker(w io.Writer) *Packer { return &Packer{tar.NewWriter(w)} }

// Close writes the bundle's end. It does not close the writer below.
func (p *Packer) Close() error { return p.tar.Close() }

// Text adds a file called name.
func (p *Packer) Text(name, text string) error {
	err := p.tar.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: int64(len(text)), Format: tar.FormatPAX})
	if err == nil {
		_, err = io.WriteString(p.tar, text)
	}
	return err
}

// File adds the file at source, following links, as name.
func (p *Packer) File(name, source string) error {
	info, err := os.Stat(source)
	if err != nil {
		return faas.Errorf(faas.KindNotFound, "pack: %w", err)
	}
	return p.add(name, source, info)
}

// Folder adds everything below dir, with links as links, below prefix, which
// is "" for the bundle's root.
func (p *Packer) Folder(prefix, dir string) error {
	// A link to a folder is meant as the folder.
	real, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return faas.Errorf(faas.KindNotFound, "pack: %w", err)
	}
	return filepath.WalkDir(real, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return faas.Errorf(faas.KindInvalid, "pack: %w", err)
		}
		rel, err := filepath.Rel(real, name)
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return faas.Errorf(faas.KindInvalid, "pack: %w", err)
		}
		inside := path.Join(prefix, filepath.ToSlash(rel))
		if inside == "." {
			return nil
		}
		return p.add(inside, name, info)
	})
}

func (p *Packer) add(name, source string, info fs.FileInfo) error {
	h := &tar.Header{Name: name, Mode: int64(info.Mode().Perm()), ModTime: info.ModTime(), Format: tar.FormatPAX}
	if info.Mode()&fs.ModeSticky != 0 {
		h.Mode |= 0o1000
	}
	switch {
	case info.IsDir():
		h.Typeflag, h.Name = tar.TypeDir, name+"/"
		return p.tar.WriteHeader(h)
	case info.Mode().IsRegular():
		h.Typeflag, h.Size = tar.TypeReg, info.Size()
		return p.content(h, source)
	case info.Mode()&fs.ModeSymlink != 0:
		target, err := os.Readlink(source)
		if err != nil {
			return faas.Errorf(faas.KindInvalid, "pack: %w", err)
		}
		h.Typeflag, h.Linkname = tar.TypeSymlink, target
		return p.tar.WriteHeader(h)
	}
	return faas.Errorf(faas.KindInvalid, "pack: %q is neither a file, a folder nor a link; remove it from the folder", source)
}

func (p *Packer) content(h *tar.Header, source string) error {
	f, err := os.Open(source)
	if err != nil {
		return faas.Errorf(faas.KindInvalid, "pack: %w", err)
	}
	defer f.Close()
	if err := p.tar.WriteHeader(h); err != nil {
		return err
	}
	n, err := io.Copy(p.tar, io.LimitReader(f, h.Size))
	if err == nil && n < h.Size {
		err = faas.Errorf(faas.KindBusy, "pack: %q became shorter while it was read; deploy again when nobody writes to it", source)
	}
	if err != nil {
		return fmt.Errorf("pack %q: %w", source, err)
	}
	return nil
}
