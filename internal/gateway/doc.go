// Package gateway lets HTTP in: it listens, routes /invoke/FUNCTION/..., takes
// a lease on an instance from the pool and moves the exchange between client
// and function, streaming both ways. Errors become problem documents
// (RFC 9457).
//
// # How it works
//
// A few event loops (see loop.go) wait for requests, and run those whose
// exchange needs no wait but the one for a short answer (see inloop.go). A
// goroutine of the client connection's goes on with whatever is otherwise. A
// request that finds a warm instance costs no context and no timer: deadlines
// and clients that went away are found by one sweeper (see sweeper.go), which
// looks at every connection a few times per second. A request body that has
// not arrived with its head gets a second goroutine, so that a function may
// answer while it still comes.
//
// The package must not know how instances are started, isolated or reached:
// it sees a [Lease] that dials.
package gateway
