package http1

import "bytes"

// maxOptions bounds the options in Connection: every one costs a comparison
// with every field.
const maxOptions = 16

// options are what the Connection fields of a head say.
type options struct {
	close     bool
	keepAlive bool
	upgrade   bool
	others    [maxOptions][]byte // fields nominated to be of this hop only
	n         int
}

func (o *options) add(value []byte) error {
	for len(value) > 0 {
		option := value
		if i := bytes.IndexByte(value, ','); i >= 0 {
			option, value = value[:i], value[i+1:]
		} else {
			value = nil
		}
		option = trimSpace(option)
		switch {
		case len(option) == 0: // an empty list element, RFC 9110 section 5.6.1
		case EqualFold(option, "close"):
			o.close = true
		case EqualFold(option, "keep-alive"):
			o.keepAlive = true
		case EqualFold(option, "upgrade"):
			o.upgrade = true
		case !IsToken(option) || o.n == maxOptions:
			return ErrConnection
		default:
			o.others[o.n] = option
			o.n++
		}
	}
	return nil
}

// nominated reports whether name was listed in Connection.
func (o *options) nominated(name []byte) bool {
	for _, other := range o.others[:o.n] {
		if bytes.EqualFold(name, other) {
			return true
		}
	}
	return false
}

// persistent reports whether the sender keeps the connection open
// (RFC 9112 section 9.3).
func (o *options) persistent(minor int) bool {
	return !o.close && (minor >= 1 || o.keepAlive)
}
