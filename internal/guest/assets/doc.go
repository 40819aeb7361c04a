// Package assets keeps what unikernels need and the platform does not bring:
// kernels and loaders that the operator supplies.
//
// What a system needs of them is a [Kind], which the system describes; the
// package knows none. Where they are comes from the operator's settings, from
// what was added to the store, or from where the system's own tools keep them,
// in that order. Files are checked before they are believed, and their digest
// is part of the key of every image that is made with them.
package assets
