// Package seccomp compiles the filter of an OCI runtime specification into a
// program for the kernel's system call filter. It installs nothing, and knows
// no particular filter.
//
// A program accepts one architecture, that of this build: system calls of
// another (32-bit ones on a 64-bit machine) end the process, whatever the
// filter says of them. A call whose number is above all that the filter names
// fails with ENOSYS, as from a kernel that does not know it yet, so that C
// libraries fall back to an older one.
//
// Formats: Linux's Documentation/userspace-api/seccomp_filter.rst, and
// linux.seccomp in the runtime specification's config-linux.md.
package seccomp
