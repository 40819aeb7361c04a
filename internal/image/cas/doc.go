// Package cas keeps root file systems on disk, addressed by content: objects
// (files) and trees of hard links to them. Whatever has a name in the store
// is whole, also after a crash: it is written aside, made durable, then
// renamed. Goroutines and processes may share one store.
//
// It knows nothing of functions or of where content comes from.
//
// On disk:
//
//	version            "1"
//	lock               flock: shared while something is added, exclusive to remove
//	objects/ab/NAME    files; the name holds the SHA-256 and the metadata that hard links share
//	trees/DIGEST/      manifest (canonical text of the tree) and rootfs/
//	records/KIND/NAME  small texts of the store's user
//	tmp/               work in progress
package cas
