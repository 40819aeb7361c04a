// Package nanos is the guest system of Nanos unikernels: it makes the disk of
// one out of a function's root file system and the operator's kernel, and tells
// each machine its address.
//
// The disk is the same for every monitor (package disk). It holds the program
// and a manifest, which says what runs, with which arguments and environment.
// What differs between the machines of one function goes over the kernel's
// command line where the monitor hands it a kernel by Linux's protocol, and
// otherwise into a record at the end of the log of the machine's own copy of
// the disk. The kernel writes to its disk, so each machine needs a copy anyway.
//
// Nanos is not part of the platform: its kernel.img and boot.img are supplied by
// the operator (package assets). The package knows no monitor and starts
// nothing.
package nanos
