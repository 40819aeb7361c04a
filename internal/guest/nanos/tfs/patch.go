package tfs

import (
	"fmt"
	"io"
)

// A Patch sets attributes on the root of copies of one volume, at the end of
// their log. It is for concurrent use.
type Patch struct {
	names map[string]uint64
	last  uint64
	tail  extension
	next  int64 // first free sector
	size  int64 // of the volume, sectors
}

// NewPatch returns the patch of what was read.
func (v *Volume) NewPatch() *Patch {
	p := &Patch{names: map[string]uint64{}, last: uint64(len(v.play.numbers)), tail: v.play.tail, next: pad(v.end), size: v.size / SectorSize}
	for i, n := range v.play.numbers {
		if name, ok := n.(string); ok {
			p.names[name] = uint64(i) + 1
		}
	}
	return p
}

// Apply sets attributes on the root of the volume at byte at of w, a copy of the
// one that was read, which must not have been patched or used.
func (p *Patch) Apply(w io.WriterAt, at int64, attributes Tuple) error {
	const root = 1
	e := encoder{known: p.names, names: map[string]uint64{}, last: p.last}
	e.more(root, len(attributes))
	e.attributes(attributes)
	next := p.next
	tail := p.tail
	l := &logWriter{w: w, at: at, current: &tail, allocate: func(sectors int64) (int64, error) {
		from := next
		if next += sectors; next > p.size {
			return 0, errSpace(next, p.size)
		}
		return from, nil
	}}
	err := l.record(e.out)
	if err == nil {
		err = l.finish(0)
	}
	if err != nil {
		return fmt.Errorf("patch volume: %w", err)
	}
	return nil
}
