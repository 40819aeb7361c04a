package http1

// Name identifies the field names that matter to an intermediary; Other is
// everything else.
type Name uint8

// The names told apart. They are grouped: see [Name.Hop].
const (
	Other Name = iota
	Host
	ContentLength
	Expect
	Trailer
	XForwardedFor
	XForwardedProto
	XForwardedHost
	Forwarded
	Traceparent
	Tracestate
	XRequestID

	// From here on: fields of one hop only, never passed on as they are.
	Connection
	TransferEncoding
	KeepAlive
	ProxyConnection
	ProxyAuthenticate
	ProxyAuthorization
	TE
	Upgrade
	HTTP2Settings
)

// Hop reports whether a field of this name concerns one connection only
// (RFC 9110 section 7.6.1, and what RFC 2616 section 13.5.1 counted as such).
func (n Name) Hop() bool { return n >= Connection }

// A Field is one field line: views into the head's buffer, without the white
// space around the value.
type Field struct {
	Name  []byte
	Value []byte
	Known Name
}

// names lists the known names by length, which tells nearly all apart.
var names = [...][]struct {
	lower string
	name  Name
}{
	2:  {{"te", TE}},
	4:  {{"host", Host}},
	6:  {{"expect", Expect}},
	7:  {{"upgrade", Upgrade}, {"trailer", Trailer}},
	9:  {{"forwarded", Forwarded}},
	10: {{"connection", Connection}, {"keep-alive", KeepAlive}, {"tracestate", Tracestate}},
	11: {{"traceparent", Traceparent}},
	12: {{"x-request-id", XRequestID}},
	14: {{"content-length", ContentLength}, {"http2-settings", HTTP2Settings}},
	15: {{"x-forwarded-for", XForwardedFor}},
	16: {{"x-forwarded-host", XForwardedHost}, {"proxy-connection", ProxyConnection}},
	17: {{"transfer-encoding", TransferEncoding}, {"x-forwarded-proto", XForwardedProto}},
	18: {{"proxy-authenticate", ProxyAuthenticate}},
	19: {{"proxy-authorization", ProxyAuthorization}},
}

func lookup(name []byte) Name {
	if len(name) >= len(names) {
		return Other
	}
	for _, e := range names[len(name)] {
		if EqualFold(name, e.lower) {
			return e.name
		}
	}
	return Other
}

// Alias returns the known name that name becomes when "_" is read as "-", as
// CGI and its descendants do; Other when there is none or name has no "_".
// A sender could smuggle such a field past whoever filters the real one.
func Alias(name []byte) Name {
	if len(name) >= len(names) {
		return Other
	}
	var dashed [len(names)]byte
	n, found := copy(dashed[:], name), false
	for i, c := range dashed[:n] {
		if c == '_' {
			dashed[i], found = '-', true
		}
	}
	if !found {
		return Other
	}
	return lookup(dashed[:n])
}

// ParseFields appends the field lines in b, each ended by CRLF, to dst. At
// most limit fields are allowed.
func ParseFields(dst []Field, b []byte, limit int) ([]Field, error) {
	for len(b) > 0 {
		if len(dst) >= limit {
			return dst, ErrTooManyFields
		}
		i := 0
		for i < len(b) && classes[b[i]]&isToken != 0 {
			i++
		}
		if i == 0 || i == len(b) || b[i] != ':' {
			return dst, nameError(b, i)
		}
		j := i + 1
		for j < len(b) && classes[b[j]]&isValue != 0 {
			j++
		}
		if j+1 >= len(b) || b[j] != '\r' || b[j+1] != '\n' {
			return dst, valueError(b, j)
		}
		dst = append(dst, Field{Name: b[:i:i], Value: trimSpace(b[i+1 : j]), Known: lookup(b[:i])})
		b = b[j+2:]
	}
	return dst, nil
}

func nameError(b []byte, i int) error {
	switch {
	case i == 0 && (b[0] == ' ' || b[0] == '\t'):
		return ErrFieldFold
	case i < len(b) && (b[i] == ' ' || b[i] == '\t'):
		return ErrFieldSpace
	case i < len(b) && b[i] == '\n':
		return ErrBareLF
	default:
		return ErrFieldName
	}
}

func valueError(b []byte, j int) error {
	if j < len(b) && b[j] == '\n' {
		return ErrBareLF
	}
	return ErrFieldValue
}
