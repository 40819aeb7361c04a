package http1

import "bytes"

// Limits bound a head beyond its size, which is whoever reads it to bound.
type Limits struct {
	Target int // bytes of the request target
	Fields int // field lines
}

// A Request is a parsed request head. Its slices are views into the buffer it
// was parsed from. It may be used again for the next head.
type Request struct {
	Method []byte
	Target []byte // origin form, byte for byte: the path, then "?" and the query if there is one; or "*"
	Host   []byte // empty only in HTTP/1.0
	Minor  int    // 0 or 1
	Fields []Field

	Body   BodyKind // never UntilClose
	Length int64    // of a Sized body

	Persistent     bool   // the client wants to keep the connection
	Upgrade        []byte // the protocols asked for; nil when none, or when Connection does not say so
	ExpectContinue bool

	opts options
	fr   framing
}

// Nominated reports whether the client listed a field of this name in
// Connection. Host and the framing fields can't be taken away like that.
func (r *Request) Nominated(f *Field) bool {
	return r.opts.n > 0 && f.Known != Host && r.opts.nominated(f.Name)
}

// Parse reads head, which ends with its empty line (see [HeadEnd]). On error,
// an *[Error], r holds only what was read until then.
func (r *Request) Parse(head []byte, limits Limits) error {
	*r = Request{Fields: r.Fields[:0]}
	line, rest, ok := cutLine(head)
	if !ok || len(rest) < 2 {
		return ErrRequestLine
	}
	authority, err := r.parseLine(line, limits)
	if err != nil {
		return err
	}
	if r.Fields, err = ParseFields(r.Fields, rest[:len(rest)-2], limits.Fields); err != nil {
		return err
	}
	if err = r.scanFields(); err != nil {
		return err
	}
	if err = r.checkHost(authority); err != nil {
		return err
	}
	return r.frame()
}

func (r *Request) parseLine(line []byte, limits Limits) (authority []byte, err error) {
	i := bytes.IndexByte(line, ' ')
	j := bytes.LastIndexByte(line, ' ')
	if i < 0 {
		return nil, ErrRequestLine
	}
	r.Method = line[:i]
	if !IsToken(r.Method) {
		return nil, ErrMethod
	}
	if i == j {
		return nil, ErrRequestLine // HTTP/0.9, or not HTTP at all
	}
	target := line[i+1 : j]
	switch version := line[j+1:]; {
	case string(version) == "HTTP/1.1":
		r.Minor = 1
	case string(version) == "HTTP/1.0":
	case len(version) == 8 && string(version[:5]) == "HTTP/" && classes[version[5]]&isDigit != 0 &&
		version[6] == '.' && classes[version[7]]&isDigit != 0:
		return nil, ErrVersion
	default:
		return nil, ErrRequestLine
	}
	if len(target) > limits.Target {
		return nil, ErrTargetLong
	}
	r.Target, authority, err = parseTarget(r.Method, target)
	return authority, err
}

func (r *Request) scanFields() error {
	hosts := 0
	for i := range r.Fields {
		f := &r.Fields[i]
		var err error
		switch f.Known {
		case Other:
			continue
		case Host:
			hosts++
			r.Host = f.Value
		case Connection:
			err = r.opts.add(f.Value)
		case ContentLength, TransferEncoding, Trailer:
			err = r.fr.add(f)
		case Upgrade:
			r.Upgrade = f.Value
		case Expect:
			r.ExpectContinue = EqualFold(f.Value, "100-continue")
		}
		if err != nil {
			return err
		}
	}
	switch {
	case hosts > 1:
		return ErrHostTwice
	case hosts == 0 && r.Minor == 1:
		return ErrHostMissing
	case hosts == 1 && !validAuthority(r.Host):
		return ErrHost
	}
	return nil
}

func (r *Request) checkHost(authority []byte) error {
	switch {
	case authority == nil:
		return nil
	case r.Host == nil:
		r.Host = authority
		return nil
	case !bytes.EqualFold(authority, r.Host):
		return ErrHostMismatch
	}
	return nil
}

func (r *Request) frame() error {
	if err := r.fr.check(r.Minor); err != nil {
		return err
	}
	switch {
	case r.fr.hasCoding:
		r.Body = Chunked
	case r.fr.hasLength && r.fr.length > 0:
		r.Body, r.Length = Sized, r.fr.length
	}
	r.Persistent = r.opts.persistent(r.Minor)
	// HTTP/1.0 knows neither (RFC 9110 sections 7.8 and 10.1.1).
	if !r.opts.upgrade || r.Minor == 0 || len(r.Upgrade) == 0 {
		r.Upgrade = nil
	}
	if r.Minor == 0 || r.Body == NoBody {
		r.ExpectContinue = false
	}
	return nil
}

// HasLength reports whether the head has a Content-Length, be it 0.
func (r *Request) HasLength() bool { return r.fr.hasLength }
