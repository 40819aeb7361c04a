package tfs

import (
	"errors"
	"fmt"
	"os"
	"strconv"

	"github.com/unifaas/unifaas/internal/host/sparse"
)

// Options say what a volume is beside its files.
type Options struct {
	// ID names the volume.
	ID [16]byte
	// Label is at most 31 bytes without a zero byte; "" is none.
	Label string
	// Attributes are set on the root folder: the manifest.
	Attributes Tuple
	// Room is what is kept free at the log's end, so that a [Patch] up to that
	// size takes no further place; bytes.
	Room int64
	// Free is the space that files can grow by, bytes; the kernel needs some of
	// it for its own log, which is added.
	Free int64
}

// kernelLog is what the kernel takes for its log before it writes anything: two
// extensions.
const kernelLog = 2 * extensionSize

// A Builder writes a volume into a file, from the beginning on: the files as
// they come, and the log in between. It is not for concurrent use.
type Builder struct {
	w    *os.File
	at   int64 // of the volume, bytes
	next int64 // free sector
	log  *logWriter
	encoder
	free int64
	room int64
}

// A Folder is a folder of a volume that is being built.
type Folder struct{ children uint64 }

// NewBuilder begins a volume at byte at of w, whose content from there on must
// be a hole or zeros.
func NewBuilder(w *os.File, at int64, o Options) (*Builder, Folder, error) {
	if len(o.Label) >= maxLabel {
		return nil, Folder{}, fmt.Errorf("label %q is longer than %d bytes", o.Label, maxLabel-1)
	}
	b := &Builder{w: w, at: at, next: align, encoder: encoder{names: map[string]uint64{}}, free: o.Free, room: o.Room}
	b.log = &logWriter{
		w: w, at: at, allocate: b.allocate, current: &extension{},
		previous: &extension{sectors: 1, first: append(append(o.ID[:], o.Label...), 0)},
	}
	b.open(len(o.Attributes) + 1)
	b.attributes(o.Attributes)
	b.name(attrChildren)
	root := Folder{b.open(0)}
	return b, root, b.end()
}

func (b *Builder) allocate(sectors int64) (int64, error) {
	at := b.next
	b.next += pad(sectors)
	return at, nil
}

// end ends a record.
func (b *Builder) end() error {
	if b.values > maxValues {
		return fmt.Errorf("a volume with more than %d values, ten for each file, is more than its kernel can be expected to read", maxValues)
	}
	err := b.log.record(b.out)
	b.out = b.out[:0]
	return err
}

// entry begins the record of a folder's new entry, which is a tuple.
func (b *Builder) entry(dir Folder, name string) {
	b.more(dir.children, 1)
	b.name(name)
}

// A File is a file of a volume that is being built.
type File struct {
	tuple uint64
	links int
}

// MakeFolder makes a folder.
func (b *Builder) MakeFolder(dir Folder, name string) (Folder, error) {
	b.entry(dir, name)
	b.open(1)
	b.name(attrChildren)
	made := Folder{b.open(0)}
	return made, b.end()
}

// MakeLink makes a symbolic link.
func (b *Builder) MakeLink(dir Folder, name, target string) error {
	b.entry(dir, name)
	b.open(1)
	b.name(attrLinkTarget)
	b.string(target)
	return b.end()
}

// LinkFile gives a file one more name.
func (b *Builder) LinkFile(dir Folder, name string, f *File) error {
	b.entry(dir, name)
	b.more(f.tuple, 0)
	if err := b.end(); err != nil {
		return err
	}
	f.links++
	b.more(f.tuple, 1)
	b.name(attrLinks)
	b.number(int64(f.links))
	return b.end()
}

// extentsAtOnce is how many extents of a file are in one record.
const extentsAtOnce = 256

// MakeFile makes a file of what is in a regular one on the host, with its holes.
// modified is in seconds since 1970; 0 is not told. That content changes meanwhile
// is an error.
func (b *Builder) MakeFile(dir Folder, name string, content *os.File, modified int64) (*File, error) {
	info, err := content.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%q is no regular file", content.Name())
	}
	b.entry(dir, name)
	attributes := 2
	modified = min(modified, 1<<32-1)
	if modified > 0 {
		attributes++
	}
	f := &File{tuple: b.open(attributes), links: 1}
	b.name(attrFileLength)
	b.number(info.Size())
	if modified > 0 {
		b.name(attrModified)
		b.string(strconv.FormatUint(uint64(modified)<<32, 10)) // a fixed-point number of 32 bits after the point
	}
	b.name(attrExtents)
	extents := b.open(0)
	if err := b.end(); err != nil {
		return nil, err
	}
	if err := b.copy(extents, content, info.Size()); err != nil {
		return nil, err
	}
	return f, sparse.Unchanged(content, info)
}

// An extent is a run of a file's sectors.
type extent struct{ file, sector, length, allocated int64 }

// small is the size up to which a file is read and written at once, bytes: to look
// for its holes and to have the kernel copy it would take longer.
const small = 64 << 10

// copySmall copies a small file's data.
func (b *Builder) copySmall(extents uint64, content *os.File, size int64) error {
	if size == 0 {
		return nil
	}
	data := make([]byte, size)
	if n, err := content.ReadAt(data, 0); n < len(data) {
		return errors.Join(sparse.ErrChanged, err)
	}
	e := extent{length: sectorsFor(size)}
	e.allocated = pad(e.length)
	var err error
	if e.sector, err = b.allocate(e.allocated); err != nil {
		return err
	}
	if _, err := b.w.WriteAt(data, b.at+e.sector*SectorSize); err != nil {
		return err
	}
	return b.extents(extents, []extent{e})
}

// copy copies a file's data and writes down where it is.
func (b *Builder) copy(extents uint64, content *os.File, size int64) error {
	if size <= small {
		return b.copySmall(extents, content, size)
	}
	var batch []extent
	for at := int64(0); at < size; {
		from, to, err := nextData(content, at, size)
		if err != nil {
			return err
		}
		if from == size {
			break
		}
		e := extent{file: from / SectorSize, length: sectorsFor(to - from)}
		e.allocated = pad(e.length)
		if e.sector, err = b.allocate(e.allocated); err != nil {
			return err
		}
		if err := sparse.CopyRange(b.w, b.at+e.sector*SectorSize, content, from, to-from); err != nil {
			return err
		}
		if batch = append(batch, e); len(batch) == extentsAtOnce {
			if err := b.extents(extents, batch); err != nil {
				return err
			}
			batch = batch[:0]
		}
		at = to
	}
	return b.extents(extents, batch)
}

// nextData returns the first run of data from at on, at most as long as an
// extent may be; from is size when there is none. It begins at a page.
func nextData(f *os.File, at, size int64) (from, to int64, err error) {
	const page = align * SectorSize
	from, to, err = sparse.Data(f, at, size)
	if err != nil || from == size {
		return from, to, err
	}
	from = max(from&^(page-1), at)
	to = min((to+page-1)&^(page-1), from+maxExtent*SectorSize, size)
	return from, to, nil
}

func (b *Builder) extents(tuple uint64, batch []extent) error {
	if len(batch) == 0 {
		return nil
	}
	b.more(tuple, len(batch))
	for _, e := range batch {
		b.name(strconv.FormatInt(e.file, 10))
		b.open(3)
		b.name(attrLength)
		b.number(e.length)
		b.name(attrOffset)
		b.number(e.sector)
		b.name(attrAllocated)
		b.number(e.allocated)
	}
	return b.end()
}

// Close ends the volume and returns its length, bytes. The file is as long as
// that makes it, and what is free in it is a hole.
func (b *Builder) Close() (int64, error) {
	if err := b.log.finish(b.room); err != nil {
		return 0, err
	}
	size := (b.next + pad(sectorsFor(b.free+kernelLog))) * SectorSize
	return size, b.w.Truncate(b.at + size)
}
