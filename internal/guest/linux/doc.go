// Package linux is the Linux guest system: it makes what a virtual machine
// boots with Linux, the initial file system, the disk and the kernel's command
// line, out of a revision and a kernel. What then runs as the first process is
// the command in folder init, which is embedded here; package control hears
// what it says.
//
// It knows no machine monitor and starts nothing. What differs between
// monitors, its callers tell: how the guest finds its devices and how it is
// turned off.
package linux
