package layer

import (
	"fmt"
	"sync/atomic"

	"github.com/unifaas/unifaas/internal/faas"
)

// Limits bound what one image may unpack to: a few kilobytes can claim to be
// terabytes. Zero is the default.
type Limits struct {
	Bytes   int64 // of all layers together, unpacked; default 16 GiB
	File    int64 // of one file; default 8 GiB
	Entries int64 // files, folders and links of all layers; default 1,000,000
	Names   int64 // bytes of their paths, targets and attributes, which are held in memory; default 128 MiB
	// A layer may unpack to Slack bytes and Ratio times its own size; default
	// 512 MiB and 200. Programs compress to a half or a tenth.
	Slack, Ratio int64
}

func (l *Limits) setDefaults() {
	for _, d := range []struct {
		at  *int64
		def int64
	}{
		{&l.Bytes, 16 << 30}, {&l.File, 8 << 30}, {&l.Entries, 1_000_000}, {&l.Names, 128 << 20},
		{&l.Slack, 512 << 20}, {&l.Ratio, 200},
	} {
		if *d.at <= 0 {
			*d.at = d.def
		}
	}
}

// A Budget is what is left of an image's limits. Its layers may use it at the
// same time.
type Budget struct {
	limits                Limits
	bytes, entries, names atomic.Int64
}

// NewBudget returns a budget for one image.
func NewBudget(l Limits) *Budget {
	l.setDefaults()
	return &Budget{limits: l}
}

// An allowance is a budget in the hands of one layer.
type allowance struct {
	*Budget
	packed func() int64 // bytes of the layer as it is transferred, so far
	own    int64        // bytes unpacked by this layer
}

// most is what the layer may unpack to as far as it has been read.
func (a *allowance) most() int64 { return a.limits.Slack + a.limits.Ratio*a.packed() }

// file takes a file of the given size.
func (a *allowance) file(name string, size int64) error {
	if size > a.limits.File {
		return tooLarge("file %q would have %d bytes; the limit of one file is %d", name, size, a.limits.File)
	}
	a.own += size
	if a.own > a.most() {
		return tooLarge("it unpacks to %d bytes or more from %d (at %q): no program is like that", a.own, a.packed(), name)
	}
	if a.bytes.Add(size) > a.limits.Bytes {
		return tooLarge("the image unpacks to more than %d bytes (at %q)", a.limits.Bytes, name)
	}
	return nil
}

// entry takes an entry with so many bytes of names.
func (b *Budget) entry(names int) error {
	if b.entries.Add(1) > b.limits.Entries {
		return tooLarge("the image has more than %d files, folders and links", b.limits.Entries)
	}
	if b.names.Add(int64(names)) > b.limits.Names {
		return tooLarge("the names of the image's files take more than %d bytes", b.limits.Names)
	}
	return nil
}

// headers is more than the mean of what an archive has for each file beside
// its content, in bytes.
const headers = 2048

// streamed returns an error when the stream of a layer is longer than
// anything that file has allowed could explain.
func (a *allowance) streamed(n int64) error {
	// Headers and padding come on top of what the files have.
	if most := min(a.most(), a.limits.Bytes) + headers*a.limits.Entries; n > most {
		return tooLarge("its archive is longer than %d bytes", most)
	}
	return nil
}

// Charge takes entries that need not be unpacked, since the store has them.
func (b *Budget) Charge(entries []Entry) error {
	for _, e := range entries {
		if err := b.entry(nameBytes(e)); err != nil {
			return err
		}
		if b.bytes.Add(e.Node.Size) > b.limits.Bytes {
			return tooLarge("the image unpacks to more than %d bytes (at %q)", b.limits.Bytes, e.Path)
		}
	}
	return nil
}

func nameBytes(e Entry) int {
	return len(e.Path) + len(e.Node.Target) + len(e.Node.Xattrs) + len(e.Node.Capability)
}

// tooLarge is of kind invalid: the image stays as it is.
func tooLarge(format string, args ...any) error {
	return faas.Errorf(faas.KindInvalid, "%s; raise the limit if the image is to be trusted", fmt.Sprintf(format, args...))
}

// invalid says what is wrong with a layer.
func invalid(format string, args ...any) error {
	return faas.Errorf(faas.KindInvalid, format, args...)
}
