package tfs

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
)

// Bounds of what is read, far above what any volume needs that a kernel can
// boot from: its log is in the guest's memory.
const (
	maxLog    = 256 << 20 // bytes, of the log's extensions together
	maxDepth  = 4096      // of tuples in tuples
	maxValues = 3 << 20   // strings and tuples: a file has a dozen
)

// A tuple is one that the log has told of. Most have a few attributes, and there
// may be millions of them.
type tuple struct {
	attributes []attribute    // in the order in which they were first set
	index      map[string]int // of attributes; nil while they are few
}

// An attribute's value is a string, a *tuple, or nil: it was removed.
type attribute struct {
	name  string
	value any
}

// few is up to how many attributes are looked through one by one.
const few = 8

func (t *tuple) find(name string) int {
	if t.index != nil {
		if i, ok := t.index[name]; ok {
			return i
		}
		return -1
	}
	return slices.IndexFunc(t.attributes, func(a attribute) bool { return a.name == name })
}

func (t *tuple) set(name string, value any) {
	if i := t.find(name); i >= 0 {
		t.attributes[i].value = value
		return
	}
	if value == nil {
		return
	}
	t.attributes = append(t.attributes, attribute{name, value})
	switch n := len(t.attributes); {
	case t.index != nil:
		t.index[name] = n - 1
	case n > few:
		t.index = make(map[string]int, 2*n)
		for i, a := range t.attributes {
			t.index[a.name] = i
		}
	}
}

// get returns an attribute's value, nil when there is none.
func (t *tuple) get(name string) any {
	if i := t.find(name); i >= 0 {
		return t.attributes[i].value
	}
	return nil
}

func (t *tuple) string(name string) (string, bool) {
	s, ok := t.get(name).(string)
	return s, ok
}

func (t *tuple) tuple(name string) *tuple {
	v, _ := t.get(name).(*tuple)
	return v
}

// names returns those of all attributes, sorted.
func (t *tuple) names() []string {
	var names []string
	for _, a := range t.attributes {
		if a.value != nil {
			names = append(names, a.name)
		}
	}
	slices.Sort(names)
	return names
}

// number reads a number of at most limit.
func (t *tuple) number(name string, limit int64) (int64, error) {
	text, ok := t.string(name)
	if !ok {
		return 0, fmt.Errorf("it has no %q", name)
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 0 || n > limit {
		return 0, fmt.Errorf("its %q is %.40q, want a number up to %d", name, text, limit)
	}
	return n, nil
}

// A player plays a log.
type player struct {
	r       io.ReaderAt
	sectors int64          // of the volume
	seen    map[int64]bool // extensions, by their first sector
	bytes   int64          // of extensions so far
	end     int64          // of all extensions, a sector
	id      [16]byte
	label   string
	numbers []any     // names (string) and tuples, from number 1 on
	values  int       // so far
	record  []byte    // parts of one so far
	missing uint64    // bytes of it
	tail    extension // the last one; start is where the log ends
}

func (p *player) play() error {
	sector, sectors := int64(0), int64(1)
	for {
		link, err := p.extension(sector, sectors)
		if err != nil {
			return fmt.Errorf("log at sector %d: %w", sector, err)
		}
		if link == nil {
			break
		}
		sector, sectors = link.sector, link.sectors
	}
	if p.missing > 0 {
		return errCut
	}
	return nil
}

var (
	errMagic = errors.New("it is no TFS: the magic number is missing")
	errLoop  = errors.New("the log comes back to where it was")
)

// extension plays one extension and returns the next, nil after the last.
func (p *player) extension(sector, sectors int64) (next *extension, err error) {
	if sector < 0 || sectors < 1 || sectors > p.sectors || sector > p.sectors-sectors {
		return nil, fmt.Errorf("its %d sectors are not all in the volume's %d", sectors, p.sectors)
	}
	if p.seen[sector] {
		return nil, errLoop
	}
	p.seen[sector] = true
	if p.bytes += sectors * SectorSize; p.bytes > maxLog {
		return nil, fmt.Errorf("it is longer than %d MiB", maxLog>>20)
	}
	p.end = max(p.end, sector+sectors)
	f := newFrames(p.r, sector*SectorSize, sectors*SectorSize)
	if err := p.head(f, sector, sectors); err != nil {
		return nil, err
	}
	for {
		start := f.position()
		kind, err := f.ReadByte()
		if err != nil {
			return nil, errCut
		}
		switch kind {
		case frameEnd:
			p.tail = extension{sector: sector, sectors: sectors, start: start}
			return nil, nil
		case frameSegment:
		case frameLink:
			return f.link()
		case frameRecord, frameContinued:
			err = p.part(f, kind == frameRecord)
		default:
			err = fmt.Errorf("frame %#x is unknown", kind)
		}
		if err != nil {
			return nil, fmt.Errorf("byte %d: %w", start, err)
		}
	}
}

func (p *player) head(f *frames, sector, sectors int64) error {
	var m [len(magic)]byte
	if _, err := io.ReadFull(f, m[:]); err != nil || string(m[:]) != magic {
		return errMagic
	}
	if v, err := f.varint(); err != nil || v != version {
		return fmt.Errorf("its version is %d, want %d", v, version)
	}
	if n, err := f.varint(); err != nil || n != uint64(sectors) {
		return fmt.Errorf("it says that it has %d sectors, and %d were named", n, sectors)
	}
	if sector > 0 {
		return nil
	}
	if _, err := io.ReadFull(f, p.id[:]); err != nil {
		return errCut
	}
	label, err := f.ReadBytes(0)
	if err != nil || len(label) > maxLabel {
		return errors.New("its label does not end")
	}
	p.label = string(label[:len(label)-1])
	return nil
}

// part takes a part of a record, and plays that when it is whole.
func (p *player) part(f *frames, first bool) (err error) {
	if first {
		if p.missing > 0 {
			return errCut
		}
		if p.missing, err = f.varint(); err != nil {
			return err
		}
		p.record = p.record[:0]
	}
	n, err := f.varint()
	if err != nil {
		return err
	}
	if n > p.missing || n > uint64(f.left()) {
		return errCut
	}
	from := len(p.record)
	p.record = append(p.record, make([]byte, n)...)
	if _, err := io.ReadFull(f, p.record[from:]); err != nil {
		return errCut
	}
	if p.missing -= n; p.missing > 0 {
		return nil
	}
	d := &decoder{rest: p.record}
	v, err := p.value(d, 0)
	if err != nil {
		return err
	}
	if _, ok := v.(*tuple); !ok || len(d.rest) > 0 {
		return errors.New("a record is no tuple")
	}
	return nil
}

// value decodes a value: a string, a *tuple, or nil, which removes what there
// was.
func (p *player) value(d *decoder, depth int) (any, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("tuples are nested more than %d deep", maxDepth)
	}
	if p.values++; p.values > maxValues {
		return nil, fmt.Errorf("it has more than %d values", maxValues)
	}
	follows, kind, count, err := d.header()
	if err != nil {
		return nil, err
	}
	switch kind {
	case typeTuple, typeVector:
		t := &tuple{}
		if follows {
			p.numbers = append(p.numbers, t)
		} else if t, err = p.named(d); err != nil {
			return nil, err
		}
		return t, p.attributes(d, t, kind, count, depth)
	case typeInteger:
		n, err := d.varint()
		text := strconv.FormatUint(n, 10)
		if count > 0 {
			text = "-" + text
		}
		return text, err
	case typeString, typeBuffer:
		if kind == typeBuffer && count == 0 {
			return nil, nil
		}
		if !follows {
			return nil, errors.New("a string is named by a number")
		}
		text, err := d.bytes(count)
		return string(text), err
	}
	return nil, fmt.Errorf("type %d is unknown", kind)
}

// named returns the tuple that a number names.
func (p *player) named(d *decoder) (*tuple, error) {
	n, err := d.varint()
	if err != nil {
		return nil, err
	}
	if n < 1 || n > uint64(len(p.numbers)) {
		return nil, fmt.Errorf("number %d names nothing", n)
	}
	t, ok := p.numbers[n-1].(*tuple)
	if !ok {
		return nil, fmt.Errorf("number %d names no tuple", n)
	}
	return t, nil
}

func (p *player) attributes(d *decoder, t *tuple, kind byte, count uint64, depth int) error {
	for i := range count {
		name := strconv.FormatUint(i, 10) // of a vector
		if kind == typeTuple {
			var err error
			if name, err = p.name(d); err != nil {
				return err
			}
		}
		v, err := p.value(d, depth+1)
		if err != nil {
			return err
		}
		t.set(name, v)
	}
	return nil
}

func (p *player) name(d *decoder) (string, error) {
	follows, _, n, err := d.header()
	if err != nil {
		return "", err
	}
	if follows {
		text, err := d.bytes(n)
		if err != nil {
			return "", err
		}
		p.numbers = append(p.numbers, string(text))
		return string(text), nil
	}
	if n < 1 || n > uint64(len(p.numbers)) {
		return "", fmt.Errorf("number %d names nothing", n)
	}
	name, ok := p.numbers[n-1].(string)
	if !ok {
		return "", fmt.Errorf("number %d names no name", n)
	}
	return name, nil
}

// frames reads an extension.
type frames struct {
	*bufio.Reader
	limit *io.LimitedReader
	size  int64
}

func newFrames(r io.ReaderAt, at, size int64) *frames {
	limit := &io.LimitedReader{R: io.NewSectionReader(r, at, size), N: size}
	return &frames{bufio.NewReaderSize(limit, 32<<10), limit, size}
}

// left is how many bytes are left in the extension, position how many were
// read.
func (f *frames) left() int64   { return f.limit.N + int64(f.Buffered()) }
func (f *frames) position() int { return int(f.size - f.left()) }

func (f *frames) varint() (uint64, error) {
	for x := uint64(0); ; {
		b, err := f.ReadByte()
		if err != nil {
			return 0, errCut
		}
		if x>>57 != 0 {
			return 0, errLong
		}
		x = x<<7 | uint64(b&0x7f)
		if b&0x80 == 0 {
			return x, nil
		}
	}
}

func (f *frames) link() (*extension, error) {
	sector, err := f.varint()
	if err != nil {
		return nil, err
	}
	sectors, err := f.varint()
	if err != nil {
		return nil, err
	}
	if sector > 1<<40 || sectors > 1<<40 {
		return nil, errLong
	}
	return &extension{sector: int64(sector), sectors: int64(sectors)}, nil
}
