package layer

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"

	"github.com/unifaas/unifaas/internal/faas"
	"github.com/unifaas/unifaas/internal/image/tree"
)

// A Sink takes the content of files, of which it reads n.Size bytes, and
// returns n with its Content. It is implemented by cas.Batch.
type Sink interface {
	Add(n tree.Node, r io.Reader) (tree.Node, error)
}

// Options say how a layer is unpacked.
type Options struct {
	Budget *Budget // required
	// Packed returns how many bytes of the layer have been read so far, as it
	// is transferred. Required.
	Packed func() int64
	// Plain leaves out what an ordinary user can't give a file: its owner,
	// set-id bits and capabilities.
	Plain bool
}

// Unpack reads one layer, an uncompressed archive, to the end of r. The kind
// of its errors is invalid, unless r's or sink's own errors have another.
func Unpack(ctx context.Context, r io.Reader, sink Sink, o Options) ([]Entry, error) {
	u := &unpacker{sink: sink, plain: o.Plain, allowance: allowance{Budget: o.Budget, packed: o.Packed}}
	stream := &counter{r: r, check: u.allowance.streamed}
	archive := tar.NewReader(stream)
	for {
		if err := ctx.Err(); err != nil {
			return nil, context.Cause(ctx)
		}
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, damaged(err)
		}
		if err := u.take(h, archive); err != nil {
			return nil, err
		}
	}
	// What follows the archive's end is padding, and part of its digest.
	if _, err := io.Copy(io.Discard, stream); err != nil {
		return nil, damaged(err)
	}
	return u.entries, nil
}

// damaged gives errors without a kind the kind invalid.
func damaged(err error) error {
	var kind *faas.Error
	if errors.As(err, &kind) || faas.KindOf(err) != faas.KindInternal {
		return err
	}
	what := "it is damaged: "
	if errors.Is(err, io.ErrUnexpectedEOF) {
		what = "it is truncated: "
	}
	return &faas.Error{Kind: faas.KindInvalid, Message: what + err.Error(), Err: ErrDamaged}
}

// ErrDamaged is in the chain of errors of a layer that can't be read: the
// reason may be that it is not the layer that was asked for.
var ErrDamaged = errors.New("damaged layer")

type unpacker struct {
	sink      Sink
	plain     bool
	allowance allowance
	entries   []Entry
}

// take takes one header of the archive and its content.
func (u *unpacker) take(h *tar.Header, content io.Reader) error {
	if h.Typeflag == tar.TypeXGlobalHeader {
		return nil
	}
	p, err := cleanName(h.Name)
	if err != nil {
		return err
	}
	p, mark, err := marking(p)
	if err != nil {
		return err
	}
	switch mark {
	case ignored:
		return nil
	case whiteout:
		return u.put(p, tree.Node{Type: Whiteout})
	case opaque:
		return u.put(p, tree.Node{Type: Opaque})
	}
	n, err := u.node(h, p)
	if err != nil {
		return err
	}
	if p == "/" && n.Type != tree.Dir {
		return invalid("the image's root is not a folder")
	}
	if n.Type == tree.File {
		if n, err = u.content(n, h, content); err != nil {
			return err
		}
	}
	return u.put(p, n)
}

func (u *unpacker) put(p string, n tree.Node) error {
	e := Entry{p, n}
	if err := u.allowance.entry(nameBytes(e)); err != nil {
		return err
	}
	u.entries = append(u.entries, e)
	return nil
}

func (u *unpacker) content(n tree.Node, h *tar.Header, r io.Reader) (tree.Node, error) {
	if h.Size < 0 {
		return n, invalid("file %q has a negative size", h.Name)
	}
	if err := u.allowance.file(h.Name, h.Size); err != nil {
		return n, err
	}
	n.Size = h.Size
	from := &faulty{r: r}
	n, err := u.sink.Add(n, from)
	if from.err != nil {
		return n, damaged(from.err) // the archive's fault, not the store's
	}
	if err != nil {
		return n, fmt.Errorf("unpack %q: %w", h.Name, err)
	}
	return n, nil
}

// A faulty reader remembers how reading failed.
type faulty struct {
	r   io.Reader
	err error
}

func (f *faulty) Read(p []byte) (int, error) {
	n, err := f.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		f.err = err
	}
	return n, err
}

// node describes what h is of.
func (u *unpacker) node(h *tar.Header, p string) (tree.Node, error) {
	n := tree.Node{Mode: uint32(h.Mode) & 0o7777}
	switch h.Typeflag {
	case tar.TypeReg, tar.TypeGNUSparse, tar.TypeCont:
		n.Type, n.MTime = tree.File, clampTime(h)
	case tar.TypeDir:
		n.Type = tree.Dir
	case tar.TypeSymlink:
		return u.symlink(h)
	case tar.TypeLink:
		target, err := cleanPath(h.Linkname)
		if err != nil {
			return n, invalid("hard link %q: %w", h.Name, err)
		}
		return tree.Node{Type: HardLink, Target: target}, nil
	case tar.TypeFifo:
		return tree.Node{Type: Nothing}, nil // FIFOs are of processes, not of an image
	case tar.TypeChar, tar.TypeBlock:
		if !isUsualDevice(p, h) {
			return n, invalid("%q is a device node (%d, %d); functions have no devices of their own", h.Name, h.Devmajor, h.Devminor)
		}
		return tree.Node{Type: Nothing}, nil
	default:
		return n, invalid("%q is of the unknown type %q", h.Name, h.Typeflag)
	}
	return n, u.attributes(&n, h)
}

func (u *unpacker) symlink(h *tar.Header) (tree.Node, error) {
	n := tree.Node{Type: tree.Symlink, Target: h.Linkname}
	if h.Linkname == "" || len(h.Linkname) > maxTarget || strings.ContainsRune(h.Linkname, 0) {
		return n, invalid("symbolic link %q has a target that no link can have", h.Name)
	}
	return n, u.owner(&n, h)
}

func (u *unpacker) owner(n *tree.Node, h *tar.Header) error {
	// 2^32-1 is no owner: chown(2) takes it for "leave as it is".
	if h.Uid < 0 || h.Gid < 0 || int64(h.Uid) >= math.MaxUint32 || int64(h.Gid) >= math.MaxUint32 {
		return invalid("%q belongs to user %d and group %d, which Linux does not have", h.Name, h.Uid, h.Gid)
	}
	if !u.plain {
		n.UID, n.GID = uint32(h.Uid), uint32(h.Gid)
	}
	return nil
}

func (u *unpacker) attributes(n *tree.Node, h *tar.Header) error {
	if err := u.owner(n, h); err != nil {
		return err
	}
	var err error
	if n.Capability, n.Xattrs, err = xattrs(h); err != nil {
		return err
	}
	if n.Type == tree.Dir {
		n.Capability = ""
	}
	if u.plain {
		n.Capability = ""
		n.Mode &= 0o1777
		if n.Type == tree.File {
			n.Mode = n.Mode&0o777 | 0o400 // we must be able to read it
		}
	}
	return nil
}

// clampTime returns the time of a file, as far as every file system can keep it.
func clampTime(h *tar.Header) int64 {
	return min(max(h.ModTime.Unix(), 0), math.MaxUint32)
}

// A counter counts what it reads and has check end it.
type counter struct {
	r     io.Reader
	n     int64
	check func(int64) error
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	if checkErr := c.check(c.n); checkErr != nil {
		return 0, checkErr
	}
	return n, err
}
