// Package osv is the OSv guest system: it makes what a virtual machine boots
// with OSv, a unikernel that runs one unmodified Linux program: the disk, out
// of a revision's root file system (package rofs), and the command line, out of
// the rest. The kernel, called loader, is the operator's.
//
// All instances of a revision have the same read-only disk. What differs
// between them, their network, is on the command line.
//
// It knows no machine monitor and starts nothing; [System.Combinations] says on which
// machines OSv runs. There is no agent of ours in a guest: nothing is heard of
// a function but its console and its port, and its exit status is lost.
package osv
