package tfs

import (
	"fmt"
	"io"
)

// tailBytes are kept free at an extension's end: for a link to the next one, or
// the end of the log.
const tailBytes = 1 + 2*maxVarint + 1

// frameBytes are what a frame takes beside its part of a record, and leastPart
// what makes a frame worth beginning.
const (
	frameBytes = 1 + 2*maxVarint
	leastPart  = 32
)

// An extension is a run of sectors of the log, of which the frames from byte
// start on are kept in memory.
type extension struct {
	sector, sectors int64 // sectors is 0 while it has no place
	start           int
	frames          []byte
	first           []byte // what follows the header in the first sector alone
}

func (x *extension) header() []byte {
	b := append([]byte(magic), version)
	b = appendVarint(b, uint64(x.sectors))
	return append(b, x.first...)
}

// headerBytes is the longest header of an extension but the first.
const headerBytes = len(magic) + 1 + maxVarint

// room is how many bytes of frames can still be added.
func (x *extension) room() int {
	if x.sectors == 0 {
		return extensionSize - headerBytes - tailBytes - len(x.frames)
	}
	return int(x.sectors)*SectorSize - x.start - tailBytes - len(x.frames)
}

// A logWriter writes records. An extension gets its place when it is full, and
// so lies behind the data of the files in it; and it is written when its
// successor has one. Two extensions are in memory.
type logWriter struct {
	w        io.WriterAt
	at       int64                              // of the volume in w, bytes
	allocate func(sectors int64) (int64, error) // returns the first sector
	previous *extension                         // has a place
	current  *extension
}

// record adds a record.
func (l *logWriter) record(data []byte) error {
	total := len(data)
	for first := true; len(data) > 0; first = false {
		if l.current.room() < frameBytes+leastPart {
			if err := l.seal(0); err != nil {
				return err
			}
		}
		part := min(len(data), l.current.room()-frameBytes)
		f := l.current.frames
		if first {
			f = appendVarint(append(f, frameRecord), uint64(total))
		} else {
			f = append(f, frameContinued)
		}
		f = appendVarint(f, uint64(part))
		l.current.frames = append(f, data[:part]...)
		data = data[part:]
	}
	return nil
}

// seal gives the current extension its place, writes the one before it, and
// begins another. bytes is its length, 0 the greatest.
func (l *logWriter) seal(bytes int64) (err error) {
	if x := l.current; x.sectors == 0 {
		if bytes == 0 {
			bytes = extensionSize
		}
		x.sectors = pad(sectorsFor(bytes))
		if x.sector, err = l.allocate(x.sectors); err != nil {
			return err
		}
	}
	if l.previous != nil {
		link := appendVarint([]byte{frameLink}, uint64(l.current.sector))
		link = appendVarint(link, uint64(l.current.sectors))
		if err := l.write(l.previous, link); err != nil {
			return err
		}
	}
	l.previous, l.current = l.current, &extension{}
	return nil
}

// finish writes what is left, with at least room bytes for further records in
// the last extension.
func (l *logWriter) finish(room int64) error {
	if err := l.seal(min(int64(headerBytes+len(l.current.frames)+tailBytes)+room, extensionSize)); err != nil {
		return err
	}
	return l.write(l.previous, nil)
}

// write writes an extension's frames and what ends them.
func (l *logWriter) write(x *extension, link []byte) error {
	var b []byte
	if x.start == 0 {
		b = x.header()
	}
	b = append(append(b, x.frames...), link...)
	b = append(b, frameEnd)
	if _, err := l.w.WriteAt(b, l.at+x.sector*SectorSize+int64(x.start)); err != nil {
		return fmt.Errorf("write log: %w", err)
	}
	return nil
}
