// Package gvisor runs functions in gVisor (gvisor.dev), which is built into
// the platform's own binary: a sandbox is the binary executed again (see
// [Dispatch]).
//
// Unlike `runsc run`, the driver has no gofer, no state files and no mounts on
// the host. The root file system is one EROFS image that the sandbox kernel
// ("sentry") maps; writable space is one unlinked file of bounded size; the
// way in is a socket pair that the sandbox joins to a TCP connection inside.
// What an instance holds on the host is one process with its own pid, user,
// mount, network, IPC and UTS namespaces, one cgroup, and two sockets in the
// instance's folder.
//
// This is the only package that links gVisor. It knows nothing of queues,
// HTTP or images' origins.
package gvisor
