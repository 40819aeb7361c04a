// Package http1 reads and writes the syntax of HTTP/1.1 messages (RFC 9110,
// RFC 9112): heads, message framing and chunked bodies. It is strict: what
// two recipients could understand differently is refused, because that is how
// requests are smuggled. It allocates nothing per message; what it returns are
// views into the caller's buffer.
//
// It must know nothing of sockets, functions or policy.
package http1
