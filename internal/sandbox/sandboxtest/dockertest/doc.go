// Package dockertest gives tests a Docker daemon of their own, the real
// dockerd, with its own socket, folders and network namespace, so that
// neither the machine's daemon nor its firewall is touched.
//
// A test binary that calls [Main] from its TestMain runs twice: the first
// process makes the network namespace and keeps the daemon, the second, in
// the same namespace, runs the tests. So the tests reach the daemon's bridges,
// and the daemon is no descendant of theirs, which checks for leaks rely on.
//
// It knows nothing of the platform's driver for Docker.
package dockertest
