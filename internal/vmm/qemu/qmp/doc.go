// Package qmp speaks QEMU's machine protocol, version 1: JSON objects, one a
// line, over a unix socket (QEMU, docs/interop/qmp-spec.rst). The server greets,
// the client says that it is ready, then there are commands with replies, and
// events in between.
//
// It knows the form of messages and nothing of what commands mean. What it
// reads comes from a process that runs other people's guests: it is bounded,
// and whatever is not of the protocol ends the connection.
package qmp
