package tfs

import "strconv"

// A Value is what an attribute holds: a string or a [Tuple].
type Value any

// An Attribute is a name and its value.
type Attribute struct {
	Name  string
	Value Value
}

// A Tuple is a list of attributes, with each name once. They are written in
// this order.
type Tuple []Attribute

// List returns a tuple whose names are the numbers from 0: how the kernel has
// lists of arguments.
func List(values ...string) Tuple {
	t := make(Tuple, len(values))
	for i, v := range values {
		t[i] = Attribute{strconv.Itoa(i), v}
	}
	return t
}

// Get returns the value of an attribute, nil when there is none.
func (t Tuple) Get(name string) Value {
	for _, a := range t {
		if a.Name == name {
			return a.Value
		}
	}
	return nil
}

// An encoder appends values to a record. It numbers names and tuples as they
// appear, and never writes a name twice: the kernel, when it goes on with the
// log, counts those that it knows.
type encoder struct {
	out   []byte
	known map[string]uint64 // numbers of names that somebody else has written; not changed
	names map[string]uint64 // numbers of names that were written here
	last  uint64            // number
	// values are how many were written, as the reader counts them.
	values int
}

func (e *encoder) name(name string) {
	n, ok := e.known[name]
	if !ok {
		n, ok = e.names[name]
	}
	if ok {
		e.out = appendHeader(e.out, false, typeBuffer, n)
		return
	}
	e.out = appendHeader(e.out, true, typeBuffer, uint64(len(name)))
	e.out = append(e.out, name...)
	e.last++
	e.names[name] = e.last
}

func (e *encoder) string(s string) {
	e.values++
	e.out = appendHeader(e.out, true, typeString, uint64(len(s)))
	e.out = append(e.out, s...)
}

// number writes a number as text, which kernels of any age read.
func (e *encoder) number(n int64) {
	var text [20]byte
	e.string(string(strconv.AppendInt(text[:0], n, 10)))
}

// open begins a new tuple of so many attributes and returns its number.
func (e *encoder) open(attributes int) uint64 {
	e.values++
	e.out = appendHeader(e.out, true, typeTuple, uint64(attributes))
	e.last++
	return e.last
}

// more begins further attributes of a tuple that is there.
func (e *encoder) more(tuple uint64, attributes int) {
	e.values++
	e.out = appendHeader(e.out, false, typeTuple, uint64(attributes))
	e.out = appendVarint(e.out, tuple)
}

func (e *encoder) attributes(t Tuple) {
	for _, a := range t {
		e.name(a.Name)
		switch v := a.Value.(type) {
		case string:
			e.string(v)
		case Tuple:
			e.open(len(v))
			e.attributes(v)
		default:
			panic("tfs: a value is neither a string nor a tuple: a programming error")
		}
	}
}
