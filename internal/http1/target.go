package http1

import (
	"bytes"
	"net/netip"
)

// parseTarget checks a request target (RFC 9112 section 3.2) and returns its
// origin form and, of an absolute form, the authority.
func parseTarget(method, target []byte) (origin, authority []byte, err error) {
	switch {
	case string(method) == "CONNECT":
		return nil, nil, ErrConnect
	case len(target) == 0 || !all(target, isTarget):
		return nil, nil, ErrTarget
	case target[0] == '/':
		origin = target
	case len(target) == 1 && target[0] == '*' && string(method) == "OPTIONS":
		return target, nil, nil
	default:
		if origin, authority, err = parseAbsolute(target); err != nil {
			return nil, nil, err
		}
	}
	if !validPath(origin) {
		return nil, nil, ErrTarget
	}
	return origin, authority, nil
}

func parseAbsolute(target []byte) (origin, authority []byte, err error) {
	scheme, rest, ok := bytes.Cut(target, []byte("://"))
	if !ok || !EqualFold(scheme, "http") && !EqualFold(scheme, "https") {
		return nil, nil, ErrTarget
	}
	i := bytes.IndexAny(rest, "/?")
	if i < 0 {
		i = len(rest)
	}
	if authority = rest[:i]; !validAuthority(authority) {
		return nil, nil, ErrTarget
	}
	switch origin = rest[i:]; {
	case len(origin) == 0:
		origin = []byte("/")
	case origin[0] == '?':
		origin = append([]byte("/"), origin...)
	}
	return origin, authority, nil
}

// validPath refuses a broken percent escape and an escaped NUL in the path,
// as nginx does. The query is its receiver's business.
func validPath(origin []byte) bool {
	for i := 0; i < len(origin); i++ {
		switch origin[i] {
		case '?':
			return true
		case '%':
			if i+2 >= len(origin) || classes[origin[i+1]]&classes[origin[i+2]]&isHex == 0 ||
				origin[i+1] == '0' && origin[i+2] == '0' {
				return false
			}
			i += 2
		}
	}
	return true
}

// validAuthority checks host [ ":" port ] (RFC 9110 section 7.2, RFC 3986
// section 3.2.2), without user information and without percent escapes.
func validAuthority(b []byte) bool {
	host, port := b, []byte(nil)
	if len(b) > 0 && b[0] == '[' {
		end := bytes.IndexByte(b, ']')
		if end < 0 {
			return false
		}
		addr, err := netip.ParseAddr(string(b[1:end]))
		if err != nil || !addr.Is6() || addr.Zone() != "" {
			return false
		}
		host, port = nil, b[end+1:]
		if len(port) > 0 && port[0] != ':' {
			return false
		}
	} else if i := bytes.IndexByte(b, ':'); i >= 0 {
		host, port = b[:i], b[i:]
		if i == 0 {
			return false
		}
	} else if len(b) == 0 {
		return false
	}
	if len(port) > 0 {
		port = port[1:]
	}
	return all(host, isHost) && len(port) <= 5 && all(port, isDigit)
}
