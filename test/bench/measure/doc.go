// Package measure holds what a benchmark found: samples with their noise, the
// rows of comparison made of them, and how rows are printed and written. It
// measures nothing itself, and everything in it is a pure function.
package measure
