// Package cpio writes and reads initial file systems for Linux, archives in the format
// "newc" (Linux, Documentation/driver-api/early-userspace/buffer-format.rst).
// What is written depends on what is put in alone, not on the host's clock or
// users, so that equal contents give equal archives. The package knows nothing
// of what is in them.
package cpio
