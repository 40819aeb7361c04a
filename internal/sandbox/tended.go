package sandbox

import "net"

// A TendedConn is a connection that its driver ends when the instance does,
// where the instance's own kernel is just gone and tells nobody. It has to be
// used as it is: what takes the descriptor out of it would wait in vain.
type TendedConn struct{ *net.TCPConn }
