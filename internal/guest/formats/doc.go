// Package formats tells what is inside of files that virtual machines boot
// from: the disks and initial file systems of this platform's guest systems. It
// runs nothing, and takes any file: a broken one is an error.
package formats
