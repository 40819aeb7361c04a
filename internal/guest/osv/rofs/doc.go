// Package rofs writes and reads ROFS, the read-only file system from which OSv
// guests run: regular files, folders and symbolic links, without owners, times
// or permissions (OSv shows every file as 0555).
//
// The output depends on the tree alone, so equal trees give equal images. What
// is read may be anything: a broken image is an error.
//
// The format is OSv's: fs/rofs/rofs.hh and rofs_vfsops.cc, which mount it, and
// scripts/gen-rofs-img.py, which describes its layout. The package knows
// nothing of disks, functions or sandboxes.
package rofs
