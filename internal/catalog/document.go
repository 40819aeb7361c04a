package catalog

import (
	"bytes"
	"errors"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"
)

// A document is a parsed TOML file: its values, and where each of them is.
type document struct {
	file     string
	data     []byte
	root     map[string]any
	offsets  map[string]int // by joined path of the key
	problems Problems
}

// pathSeparator can't be in a path's parts: TOML forbids it in keys.
const pathSeparator = "\x00"

func join(path string, part string) string { return path + pathSeparator + part }

// parse reads data. A document with problems has no values.
func parse(file string, data []byte) *document {
	d := &document{file: file, data: data, root: map[string]any{}, offsets: map[string]int{}}
	// The library's decoder checks syntax and duplicates; its parser, run
	// again, tells the places, which the decoder forgets.
	if err := toml.Unmarshal(data, &d.root); err != nil {
		d.root = map[string]any{}
		var de *toml.DecodeError
		if errors.As(err, &de) {
			line, column := de.Position()
			d.problems = append(d.problems, Problem{file, line, column, strings.TrimPrefix(de.Error(), "toml: ")})
		} else {
			d.problems = append(d.problems, Problem{File: file, Message: strings.TrimPrefix(err.Error(), "toml: ")})
		}
		return d
	}
	d.locate()
	return d
}

func (d *document) locate() {
	var p unstable.Parser
	p.Reset(d.data)
	table := ""
	for p.NextExpression() {
		e := p.Expression()
		switch e.Kind {
		case unstable.Table, unstable.ArrayTable:
			table = d.markKeys("", e.Key())
		case unstable.KeyValue:
			d.markKeyValue(table, e)
		}
	}
}

func (d *document) markKeyValue(path string, e *unstable.Node) {
	path = d.markKeys(path, e.Key())
	d.markValue(path, e.Value())
}

func (d *document) markKeys(path string, it unstable.Iterator) string {
	for it.Next() {
		path = join(path, string(it.Node().Data))
		if _, seen := d.offsets[path]; !seen {
			d.offsets[path] = int(it.Node().Raw.Offset)
		}
	}
	return path
}

func (d *document) markValue(path string, v *unstable.Node) {
	it := v.Children()
	for i := 0; it.Next(); i++ {
		n := it.Node()
		if v.Kind == unstable.InlineTable {
			d.markKeyValue(path, n)
			continue
		}
		element := join(path, strconv.Itoa(i))
		if n.Raw.Length > 0 {
			d.offsets[element] = int(n.Raw.Offset)
		}
	}
}

// problem records something wrong at path, or at its nearest parent that has
// a place.
func (d *document) problem(path, message string) {
	p := Problem{File: d.file, Message: message}
	for {
		if at, ok := d.offsets[path]; ok {
			p.Line, p.Column = position(d.data, at)
			break
		}
		i := strings.LastIndex(path, pathSeparator)
		if i < 0 {
			break
		}
		path = path[:i]
	}
	d.problems = append(d.problems, p)
}

func position(data []byte, offset int) (line, column int) {
	before := data[:offset]
	line = 1 + bytes.Count(before, []byte{'\n'})
	return line, offset - bytes.LastIndexByte(before, '\n')
}
