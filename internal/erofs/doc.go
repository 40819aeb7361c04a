// Package erofs writes EROFS images: read-only file systems in one file that
// Linux mounts and that gVisor maps into memory without a helper process.
//
// It writes the uncompressed subset that every reader understands: extended
// inodes, flat plain data, blocks of 4 KiB, no extended attributes. The output
// depends on the tree alone, so equal trees give equal images.
//
// The format is described in Linux's Documentation/filesystems/erofs.rst and
// fs/erofs/erofs_fs.h. The package knows nothing of functions or sandboxes.
package erofs
