// Package firecracker is the machine monitor "firecracker": it runs machines
// with the program of that name, whose API it speaks by its package api.
//
// Every machine has a home, a folder with all that its Firecracker may see:
// kernel, disks, API socket, log. There they have the same names in every
// machine, and Firecracker is only told those names, relative to the home.
// So it matters little whether the home has become its root, in the jailer,
// or is its working folder, without one; no path is too long for a socket;
// and a snapshot, in which Firecracker keeps the names, can be restored
// elsewhere. Nothing is mounted, so that a home is undone by removing it.
//
// Firecracker's log goes to a FIFO: the kernel bounds what a guest can make
// it say, and Firecracker goes on while nobody reads.
//
// The package must not know what runs in a guest, nor where disks, taps and
// limits come from.
package firecracker
