// Package runc runs functions in containers that an OCI runtime makes: runc,
// crun, or another one that a function names.
//
// A start is one execution of the runtime (`run --detach`); the instance is
// then the function's own process and nothing else. The driver learns of its
// end by a pidfd, of its status as the parent that it becomes (package
// process), reaches its port by a socket made in its network namespace, and
// limits, measures and kills it by a control group that it makes itself.
// A runtime has no protections of its own; the specification that it is given
// has Docker's (package oci).
//
// The interface to a runtime is the command line of runc(8), which other
// runtimes share. The package knows nothing of queues, HTTP or images' origins.
package runc
