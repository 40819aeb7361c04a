// Package catalog says which functions exist. It reads and checks
// function.toml in both of its forms, follows a [Source] of functions, binds
// each function to the content of its image and publishes the result as
// immutable snapshots.
//
// It knows nothing of sandboxes beyond their names, and nothing of how an
// image is made: a consumer hands it an [Images].
package catalog
