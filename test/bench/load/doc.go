// Package load puts HTTP load on an address of this machine: closed loops with
// wrk (github.com/wg/wrk), which costs less than any client in Go, and an open
// loop at a stated rate with a client of its own. It judges nothing.
package load
