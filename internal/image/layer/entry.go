package layer

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"

	"github.com/unifaas/unifaas/internal/image/tree"
)

// What a layer may hold besides the types of package tree.
const (
	// HardLink is another name of the file at Node.Target, an absolute path
	// inside the image.
	HardLink tree.Type = 'h'
	// Whiteout hides what lower layers have at the path.
	Whiteout tree.Type = 'w'
	// Opaque hides all that lower layers have in the folder at the path.
	Opaque tree.Type = 'o'
	// Nothing was something that sandboxes have no use for: it hides what was
	// at the path before.
	Nothing tree.Type = 'x'
)

const types = "dflhwox"

// An Entry is one thing that a layer says.
type Entry struct {
	Path string // absolute and clean
	Node tree.Node
}

const header = "unifaas-layer-1\n"

// Text returns entries as text: a line for each, in their order.
func Text(entries []Entry) []byte {
	b := []byte(header)
	for _, e := range entries {
		b = tree.AppendLine(b, e.Path, e.Node)
	}
	return b
}

// Parse reads what Text has written.
func Parse(text []byte) ([]Entry, error) {
	rest, ok := bytes.CutPrefix(text, []byte(header))
	if !ok {
		return nil, errors.New("parse layer: no header")
	}
	var entries []Entry
	s := bufio.NewScanner(bytes.NewReader(rest))
	s.Buffer(nil, maxLine)
	for line := 2; s.Scan(); line++ {
		p, n, err := tree.ParseLine(s.Text(), types)
		if err != nil {
			return nil, fmt.Errorf("parse layer: line %d: %w", line, err)
		}
		entries = append(entries, Entry{p, n})
	}
	if err := s.Err(); err != nil {
		return nil, fmt.Errorf("parse layer: %w", err)
	}
	return entries, nil
}

// maxLine is more than the longest line: a path, a link's target and extended
// attributes, quoted or in hexadecimal.
const maxLine = 1 << 20
