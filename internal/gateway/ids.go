package gateway

import (
	"encoding/binary"
	"encoding/hex"
	"math/rand/v2"

	"github.com/unifaas/unifaas/internal/http1"
)

// maxRequestID bounds a request id that a client may bring.
const maxRequestID = 128

// takeID keeps the client's request id when it is well formed, else makes one.
func (x *exchange) takeID() {
	found := 0
	for i := range x.req.Fields {
		if f := &x.req.Fields[i]; f.Known == http1.XRequestID {
			found++
			if validID(f.Value) {
				x.id = append(x.idRoom[:0], f.Value...)
			}
		}
	}
	if found != 1 || x.id == nil {
		x.newID()
	}
}

func (x *exchange) newID() { x.id = appendHex(x.idRoom[:0], rand.Uint64(), rand.Uint64()) }

// validID allows what ids in use are made of and nothing that a log, a shell
// or a page would read otherwise.
func validID(b []byte) bool {
	if len(b) == 0 || len(b) > maxRequestID {
		return false
	}
	for _, c := range b {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		case c == '-' || c == '_' || c == '.' || c == ':' || c == '=' || c == '+' || c == '/' || c == '@':
		default:
			return false
		}
	}
	return true
}

func appendHex(dst []byte, words ...uint64) []byte {
	var raw [8]byte
	for _, w := range words {
		binary.BigEndian.PutUint64(raw[:], w)
		dst = hex.AppendEncode(dst, raw[:])
	}
	return dst
}

// validTraceparent checks the field of W3C Trace Context, section 3.2:
// version-traceid-parentid-flags in lower-case hexadecimal, neither id zero.
// Versions after 00 may have more behind the flags.
func validTraceparent(b []byte) bool {
	if len(b) < 55 || b[2] != '-' || b[35] != '-' || b[52] != '-' {
		return false
	}
	if !lowerHex(b[:2]) || !lowerHex(b[3:35]) || !lowerHex(b[36:52]) || !lowerHex(b[53:55]) {
		return false
	}
	version := string(b[:2])
	if version == "ff" || version == "00" && len(b) != 55 || len(b) > 55 && b[55] != '-' {
		return false
	}
	return !allZero(b[3:35]) && !allZero(b[36:52])
}

func lowerHex(b []byte) bool {
	for _, c := range b {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

func allZero(b []byte) bool {
	for _, c := range b {
		if c != '0' {
			return false
		}
	}
	return true
}

// appendTraceparent begins a trace. It says "sampled": nobody before the
// function has decided against recording.
func appendTraceparent(dst []byte) []byte {
	dst = append(dst, "traceparent: 00-"...)
	dst = appendHex(dst, rand.Uint64()|1, rand.Uint64())
	dst = append(dst, '-')
	dst = appendHex(dst, rand.Uint64()|1)
	return append(dst, "-01\r\n"...)
}
