// Package image turns the source of a function's image into a root file
// system: a content-addressed, immutable tree in the store. The source may
// change or vanish afterwards; what runs does not.
//
// It knows the domain (faas) only: no sandboxes, no catalog.
package image
