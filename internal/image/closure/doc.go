// Package closure finds what a program needs at run time: its ELF
// interpreter and the shared libraries that the dynamic linker would load, or
// the interpreter of a script. It reads files and never runs one.
//
// It knows nothing of functions, trees or stores.
package closure
