// Package disk writes and reads the disks that Nanos boots from.
//
// One layout serves every monitor: the first sector is that of the operator's
// boot.img, whose loader a BIOS starts; the loader reads the kernel out of the
// first partition, and the kernel has its root file system in the second one.
// Both are TFS volumes. Where the kernel is given to the monitor, the loader and
// the first partition lie idle. The layout is that of Nanos' tools/mkfs.c and
// platform/pc/boot; between the loader and the first partition the kernel keeps
// its last messages.
package disk
