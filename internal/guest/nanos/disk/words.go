package disk

import (
	"bytes"
	"encoding/binary"
	"io"

	"github.com/unifaas/unifaas/internal/guest/nanos/tfs"
)

// Words are what a kernel has written on its disk before it ended with an error.
type Words struct {
	Code int    // exit status
	Text string // its last messages
}

// The place of the last messages has a name, an identifier of the run (8 bytes),
// the exit status (4 bytes), and the messages, which end with a zero (Nanos,
// src/kernel/log.h).
const (
	wordsMagic  = "KLOG"
	wordsCodeAt = 12
	wordsTextAt = 16
)

// LastWords reads them. A kernel that ended well has written none, and so has
// one that had no time for it.
func LastWords(r io.ReaderAt) (w Words, ok bool) {
	var first [tfs.SectorSize]byte
	if _, err := r.ReadAt(first[:], 0); err != nil {
		return w, false
	}
	all, err := partitions(first[:])
	if err != nil || len(all) == 0 || all[0].at < messages {
		return w, false
	}
	said := make([]byte, messages)
	if _, err := r.ReadAt(said, all[0].at-messages); err != nil || string(said[:len(wordsMagic)]) != wordsMagic {
		return w, false
	}
	text, _, _ := bytes.Cut(said[wordsTextAt:], []byte{0})
	return Words{Code: int(int32(binary.LittleEndian.Uint32(said[wordsCodeAt:]))), Text: string(text)}, true
}
