package catalog

import (
	"context"

	"github.com/unifaas/unifaas/internal/faas"
)

// A Source says which functions exist: a folder, or a store that is shared.
type Source interface {
	// Watch delivers every function that exists and then each change, until
	// ctx is done, when it returns nil. The update that completes the first
	// listing has Complete set; there is one even when there are no functions.
	// deliver is called by one goroutine at a time and does not block for
	// long. An error means that nothing more will come.
	Watch(ctx context.Context, deliver func(Update)) error
}

// An Update is a change of a [Source].
type Update struct {
	Changed  []Entry
	Removed  []faas.Ref
	Complete bool
}

// An Entry is the newest version of one function in a [Source]. The same
// function may be delivered again when only what it refers to has changed.
type Entry struct {
	Ref      faas.Ref
	Function *faas.Function // nil when Err is set
	Err      error          // why the newest version is no good
	Origin   Origin
	Conflict error // another function of this name, which is not served; see [Merge]
}

// OriginFolder and OriginDeployed are the kinds of an [Origin].
const (
	OriginFolder   = "folder"   // the folder of functions that the operator named
	OriginDeployed = "deployed" // by `unifaas deploy`
)

// An Origin says where a function comes from.
type Origin struct {
	Kind string
	File string // path of its function.toml as its owner knows it; "" when deployed
}

// Images binds functions to the content of their images. Its methods may be
// called concurrently. It is implemented by image.Store.
type Images interface {
	// Resolve is asked again, later, when its error is of kind busy or internal.
	Resolve(ctx context.Context, fn *faas.Function) (faas.Image, error)
	// Inputs are the absolute paths that Resolve would read, there or not.
	Inputs(fn *faas.Function) []string
}
