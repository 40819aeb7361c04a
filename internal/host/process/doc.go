// Package process holds on to processes by more than their number: it tells
// whether a number still means the same process, signals it, waits for its
// end, and learns its status, if it is a child or has become one.
//
// A program that is started detached (`runc run --detach`) is its starter's
// child only until that exits; the kernel then gives it to the nearest
// ancestor that has asked for such orphans, else to the first process of the
// machine, and only who has it is told its exit status. [Adopt] asks for them.
//
// The package starts nothing and has no policy. It never waits for "any
// child": another part of the program may be waiting for that one.
package process
