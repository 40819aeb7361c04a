package http1

// Character classes as bits of one table: a byte is looked up once.
const (
	isToken  = 1 << iota // tchar, RFC 9110 section 5.6.2
	isValue              // field-vchar, SP or HTAB; obs-text included
	isTarget             // allowed in a request target: visible, no "#"; bytes over 127 as nginx does
	isHost               // allowed in a registered name: unreserved or sub-delim, no "%"
	isHex
	isDigit
)

// classes is written once, at initialisation of a constant-like table.
var classes = buildClasses()

func buildClasses() (t [256]uint8) {
	mark := func(set string, bit uint8) {
		for i := range len(set) {
			t[set[i]] |= bit
		}
	}
	const (
		digits  = "0123456789"
		letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
	)
	mark(digits+letters+"!#$%&'*+-.^_`|~", isToken)
	mark(digits+letters+"-._~!$&'()*+,;=", isHost)
	mark(digits+"abcdefABCDEF", isHex)
	mark(digits, isDigit)
	for c := range 256 {
		if c >= 0x20 && c != 0x7f || c == '\t' {
			t[c] |= isValue
		}
		if c > 0x20 && c != 0x7f && c != '#' {
			t[c] |= isTarget
		}
	}
	return t
}

func all(b []byte, class uint8) bool {
	for _, c := range b {
		if classes[c]&class == 0 {
			return false
		}
	}
	return true
}

// IsToken reports whether b is a token (RFC 9110 section 5.6.2).
func IsToken(b []byte) bool { return len(b) > 0 && all(b, isToken) }

// EqualFold reports whether b is lower, ignoring the case of ASCII letters;
// lower must hold no capitals.
func EqualFold(b []byte, lower string) bool {
	if len(b) != len(lower) {
		return false
	}
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			c |= 0x20
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}

func trimSpace(b []byte) []byte {
	for len(b) > 0 && (b[0] == ' ' || b[0] == '\t') {
		b = b[1:]
	}
	for len(b) > 0 && (b[len(b)-1] == ' ' || b[len(b)-1] == '\t') {
		b = b[:len(b)-1]
	}
	return b
}

func hexValue(c byte) byte {
	switch {
	case c <= '9':
		return c - '0'
	case c >= 'a':
		return c - 'a' + 10
	default:
		return c - 'A' + 10
	}
}
