package http1

import "net/http"

// An Error says why a message was refused and with which status a server
// answers such a request. Errors are values that are shared: never change one.
type Error struct {
	Status int    // an HTTP status, 400 to 599
	Detail string // one line for the sender; holds nothing of the message
}

func (e *Error) Error() string { return e.Detail }

func bad(detail string) *Error { return &Error{http.StatusBadRequest, detail} }

// Why a message is refused.
var (
	ErrRequestLine    = bad("malformed request line")
	ErrMethod         = bad("malformed method")
	ErrTarget         = bad("malformed request target")
	ErrConnect        = bad("CONNECT is not served here")
	ErrTargetLong     = &Error{http.StatusRequestURITooLong, "the request target is too long"}
	ErrVersion        = &Error{http.StatusHTTPVersionNotSupported, "only HTTP/1.0 and HTTP/1.1 are spoken here"}
	ErrStatusLine     = bad("malformed status line")
	ErrBareLF         = bad("line feed without carriage return")
	ErrFieldName      = bad("malformed field name")
	ErrFieldFold      = bad("folded field line")
	ErrFieldSpace     = bad("white space between field name and colon")
	ErrFieldValue     = bad("control byte in field value")
	ErrTooManyFields  = &Error{http.StatusRequestHeaderFieldsTooLarge, "too many fields"}
	ErrHeadLarge      = &Error{http.StatusRequestHeaderFieldsTooLarge, "the head is too large"}
	ErrHostMissing    = bad("Host is missing")
	ErrHostTwice      = bad("more than one Host")
	ErrHost           = bad("malformed Host")
	ErrHostMismatch   = bad("Host differs from the request target's authority")
	ErrLengthTwice    = bad("more than one Content-Length")
	ErrLength         = bad("malformed Content-Length")
	ErrLengthAndTE    = bad("both Content-Length and Transfer-Encoding")
	ErrTransferTwice  = bad("more than one Transfer-Encoding")
	ErrTransferOld    = bad("Transfer-Encoding in HTTP/1.0")
	ErrTransfer       = &Error{http.StatusNotImplemented, "only the transfer coding \"chunked\" is understood"}
	ErrConnection     = bad("malformed Connection")
	ErrChunkSize      = bad("malformed chunk size")
	ErrChunkExtension = bad("malformed or oversized chunk extension")
	ErrChunkEnd       = bad("chunk data does not end where its size says")
	ErrTrailer        = bad("forbidden field announced in Trailer")
	ErrTrailerLarge   = &Error{http.StatusRequestHeaderFieldsTooLarge, "the trailer section is too large"}
)
