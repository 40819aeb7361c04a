package http1

import "bytes"

// checkTrailer refuses an announcement of fields that would change the
// message's framing (RFC 9110 section 6.5.1).
func checkTrailer(value []byte) error {
	for _, name := range bytes.Split(value, []byte(",")) {
		name = trimSpace(name)
		switch {
		case len(name) == 0:
		case !IsToken(name), lookup(name) == TransferEncoding, lookup(name) == ContentLength, lookup(name) == Trailer:
			return ErrTrailer
		}
	}
	return nil
}

// TrailerAllowed reports whether a field may be passed on from a trailer
// section: not when it frames, routes, authenticates or belongs to one hop.
func (f *Field) TrailerAllowed() bool {
	if f.Known != Other {
		return false
	}
	for _, forbidden := range [...]string{
		"authorization", "content-encoding", "content-range", "content-type", "cookie", "set-cookie", "cache-control",
	} {
		if EqualFold(f.Name, forbidden) {
			return false
		}
	}
	return Alias(f.Name) == Other
}
