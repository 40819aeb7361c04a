package peers

import (
	"context"
	"time"
)

// A Peer starts instances of one function with nothing of ours around them.
// Its methods may be called concurrently, but for Close.
type Peer interface {
	// Prepare makes what an instance needs and what is not the peer's to make:
	// nothing of it belongs to what a start takes.
	Prepare() (Instance, error)
	// Close removes what is left of all instances together, each of which must
	// have been deleted. It may be called more than once.
	Close() error
}

// An Instance is one start and what came of it. Its methods are called one
// after the other.
type Instance interface {
	// Start returns how long it took from the start until the function answered
	// 200 to a request for path.
	Start(ctx context.Context, path string) (time.Duration, error)
	// Kill ends the function. It is the least that a stop can be: it waits for
	// nothing and clears nothing away that would not go by itself.
	Kill() error
	// Delete removes everything of the instance, whatever came of its start.
	Delete() error
}
