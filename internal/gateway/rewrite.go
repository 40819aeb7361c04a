package gateway

import (
	"github.com/unifaas/unifaas/internal/http1"
)

// buildRequest writes the head that the function gets to x.s.request, and
// behind it the body when all of it is there.
func (x *exchange) buildRequest() {
	r := &x.req
	b := append(x.s.request[:0], r.Method...)
	b = append(b, ' ')
	if len(x.path) == 0 || x.path[0] != '/' {
		b = append(b, '/')
	}
	b = append(b, x.path...)
	b = append(b, " HTTP/1.1\r\n"...)
	// RFC 9112 section 3.2 wants Host first, and present.
	b = http1.AppendField(b, "Host", r.Host)
	traced := x.traced()
	var forwardedFor []byte
	for i := range r.Fields {
		f := &r.Fields[i]
		if f.Known == http1.XForwardedFor && x.c.g.opts.TrustForwarded {
			forwardedFor = joinList(forwardedFor, f.Value)
		} else if x.passes(f, traced) {
			b = f.Append(b)
		}
	}
	b = x.appendForwarded(b, forwardedFor)
	b = http1.AppendField(b, "X-Request-Id", x.id)
	if !traced {
		b = appendTraceparent(b)
	}
	switch {
	case r.Body == http1.Chunked:
		b = http1.AppendChunked(b)
	case r.HasLength():
		b = http1.AppendLength(b, r.Length)
	}
	if x.upgrading = x.upgrade() != nil; x.upgrading {
		b = append(b, "Connection: Upgrade\r\n"...)
		b = http1.AppendField(b, "Upgrade", r.Upgrade)
	}
	x.s.request = append(b, "\r\n"...)
}

// upgrade returns the protocols that the client asks for. HTTP/2 is not one
// that a function may be asked for behind the gateway's back.
func (x *exchange) upgrade() []byte {
	if x.req.Upgrade == nil || len(x.req.Upgrade) >= 3 && http1.EqualFold(x.req.Upgrade[:3], "h2c") {
		return nil
	}
	return x.req.Upgrade
}

// traced reports whether the request has exactly one valid traceparent.
func (x *exchange) traced() bool {
	n, valid := 0, false
	for i := range x.req.Fields {
		if f := &x.req.Fields[i]; f.Known == http1.Traceparent {
			n++
			valid = validTraceparent(f.Value)
		}
	}
	return n == 1 && valid
}

// passes reports whether the function gets f as it is.
func (x *exchange) passes(f *http1.Field, traced bool) bool {
	switch f.Known {
	case http1.Other:
		return !x.req.Nominated(f) && http1.Alias(f.Name) == http1.Other
	case http1.Traceparent, http1.Tracestate:
		return traced
	case http1.Expect:
		return x.req.Minor == 1
	case http1.Trailer:
		return x.req.Body == http1.Chunked
	case http1.XForwardedProto, http1.XForwardedHost, http1.Forwarded:
		return x.c.g.opts.TrustForwarded
	default: // Host, framing, ids and fields of one hop are written anew or not at all
		return false
	}
}

// appendForwarded says where the request comes from. X-Forwarded-* are the
// de-facto names; what the client says of itself counts only when the
// operator trusts it.
func (x *exchange) appendForwarded(b, before []byte) []byte {
	b = append(b, "X-Forwarded-For: "...)
	if len(before) > 0 {
		b = append(b, before...)
		b = append(b, ", "...)
	}
	b = append(b, x.c.addr...)
	b = append(b, "\r\n"...)
	proto, host := true, true
	if x.c.g.opts.TrustForwarded {
		for i := range x.req.Fields {
			proto = proto && x.req.Fields[i].Known != http1.XForwardedProto
			host = host && x.req.Fields[i].Known != http1.XForwardedHost
		}
	}
	if proto {
		b = append(b, "X-Forwarded-Proto: http\r\n"...)
	}
	if host && len(x.req.Host) > 0 {
		b = http1.AppendField(b, "X-Forwarded-Host", x.req.Host)
	}
	return b
}

func joinList(list, value []byte) []byte {
	if len(list) > 0 {
		list = append(list, ", "...)
	}
	return append(list, value...)
}

// appendConnection says what becomes of the client's connection, where that
// is not the default of its version.
func (x *exchange) appendConnection(b []byte) []byte {
	switch {
	case x.close:
		return append(b, "Connection: close\r\n"...)
	case x.req.Minor == 0:
		return append(b, "Connection: keep-alive\r\n"...)
	}
	return b
}

// buildResponse gathers the head that the client gets of x.resp, and decides
// how the body is framed.
func (x *exchange) buildResponse() {
	r := &x.resp
	x.status = r.Status
	b := http1.AppendStatusLine(x.to.buf, r.Status, r.Reason)
	hasID := false
	for i := range r.Fields {
		f := &r.Fields[i]
		switch {
		case f.Known.Hop(), f.Known == http1.ContentLength, r.Nominated(f):
			continue
		case f.Known == http1.Trailer && (r.Body != http1.Chunked || x.req.Minor == 0):
			continue
		case f.Known == http1.XRequestID:
			hasID = true
		}
		b = f.Append(b)
	}
	if !hasID {
		b = http1.AppendField(b, "X-Request-Id", x.id)
	}
	b = x.appendFraming(b)
	b = x.appendConnection(b)
	x.to.buf = append(b, "\r\n"...)
}

func (x *exchange) appendFraming(b []byte) []byte {
	r := &x.resp
	switch {
	case r.Body == http1.Sized, r.Body == http1.NoBody && r.HasLength() && r.Status != 204:
		return http1.AppendLength(b, r.Length)
	case r.Body == http1.NoBody:
		return b
	case x.req.Minor == 1:
		x.to.chunk = true
		return http1.AppendChunked(b)
	default:
		x.close = true // HTTP/1.0 finds the end of such a body there
		return b
	}
}
