// Package layer reads the layers of OCI and Docker images: a tar stream
// becomes a list of entries, and the lists of an image's layers, one on the
// other, become a tree. What is in a layer never touches a path of this
// machine: names, links and whiteouts are worked out in memory.
//
// The format is that of the OCI image specification, layer.md.
//
// It knows nothing of registries, and of the store only that a [Sink] takes
// the content of files.
package layer
