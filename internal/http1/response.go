package http1

import "bytes"

// A Response is a parsed response head. Its slices are views into the buffer
// it was parsed from. It may be used again for the next head.
type Response struct {
	Status int // 100 to 599
	Reason []byte
	Minor  int // 0 or 1
	Fields []Field

	Body   BodyKind
	Length int64 // of a Sized body

	Persistent bool // the server keeps the connection once this message is over
	Upgrade    bool // Connection lists upgrade

	opts options
	fr   framing
}

// Nominated reports whether the server listed a field of this name in
// Connection.
func (r *Response) Nominated(f *Field) bool {
	return r.opts.n > 0 && r.opts.nominated(f.Name)
}

// Parse reads head, which ends with its empty line (see [HeadEnd]). head
// tells whether it answers a HEAD request, whose answers have no body.
// fields bounds the number of field lines.
func (r *Response) Parse(head []byte, toHead bool, fields int) error {
	*r = Response{Fields: r.Fields[:0]}
	line, rest, ok := cutLine(head)
	if !ok || len(rest) < 2 {
		return ErrStatusLine
	}
	if err := r.parseLine(line); err != nil {
		return err
	}
	var err error
	if r.Fields, err = ParseFields(r.Fields, rest[:len(rest)-2], fields); err != nil {
		return err
	}
	for i := range r.Fields {
		switch f := &r.Fields[i]; f.Known {
		case Connection:
			err = r.opts.add(f.Value)
		case ContentLength, TransferEncoding, Trailer:
			err = r.fr.add(f)
		}
		if err != nil {
			return err
		}
	}
	return r.frame(toHead)
}

// parseLine accepts a status line without reason and without the space before
// it, which RFC 9112 section 4 demands and some servers leave out.
func (r *Response) parseLine(line []byte) error {
	if len(line) < 12 || string(line[:7]) != "HTTP/1." || line[7] != '0' && line[7] != '1' || line[8] != ' ' {
		return ErrStatusLine
	}
	r.Minor = int(line[7] - '0')
	code := line[9:12]
	if !all(code, isDigit) || code[0] < '1' || code[0] > '5' {
		return ErrStatusLine
	}
	r.Status = int(code[0]-'0')*100 + int(code[1]-'0')*10 + int(code[2]-'0')
	if len(line) > 12 {
		if r.Reason = line[13:]; line[12] != ' ' || !all(r.Reason, isValue) {
			return ErrStatusLine
		}
	}
	return nil
}

// frame follows RFC 9112 section 6.3.
func (r *Response) frame(toHead bool) error {
	if err := r.fr.check(r.Minor); err != nil {
		return err
	}
	r.Length = r.fr.length
	r.Persistent = r.opts.persistent(r.Minor)
	r.Upgrade = r.opts.upgrade
	switch {
	case toHead || r.Bodiless():
		r.Body = NoBody
	case r.fr.hasCoding:
		r.Body = Chunked
	case r.fr.hasLength && r.fr.length == 0:
		r.Body = NoBody
	case r.fr.hasLength:
		r.Body = Sized
	default:
		r.Body, r.Persistent = UntilClose, false
	}
	return nil
}

// Bodiless reports whether the status alone says that there is no body.
func (r *Response) Bodiless() bool {
	return r.Status < 200 || r.Status == 204 || r.Status == 304
}

// HasLength reports whether the head has a Content-Length, be it 0.
func (r *Response) HasLength() bool { return r.fr.hasLength }

// UpgradeTo returns the value of the only Upgrade field, or nil.
func (r *Response) UpgradeTo() []byte {
	var value []byte
	for i := range r.Fields {
		if r.Fields[i].Known == Upgrade {
			if value != nil {
				return nil
			}
			value = r.Fields[i].Value
		}
	}
	return bytes.TrimSpace(value)
}
