package pool

import (
	"io"
	"sync/atomic"
	"time"

	"github.com/unifaas/unifaas/internal/sandbox"
)

// An instance is what the pool knows about one sandbox instance.
type instance struct {
	sandbox sandbox.Instance
	group   *group
	created time.Time
	gone    chan struct{} // closed once it has been stopped for good

	memory     atomic.Int64 // bytes, last measured; 0 is unknown
	attachment atomic.Pointer[attachment]

	// The rest is guarded by group.mu.
	inFlight  int
	served    int  // requests that ended well
	adopted   bool // it was at work before this pool knew it
	spent     bool // single-use, and used
	retired   bool // takes no new requests
	broke     bool // a request of its went wrong; implies retired
	checking  bool // its health is being checked
	aside     bool // it owes the answer to a health check: takes no new requests meanwhile
	replaced  bool // another is owed in its place
	mourned   bool // its end has been told of
	stopping  bool // its stop has been asked for; implies retired
	uncounted bool // no longer counts against max-instances
	idleSince time.Time
	lastUsed  time.Time

	stacked      bool
	above, below *instance
}

func newInstance(g *group, s sandbox.Instance, now time.Time) *instance {
	return &instance{sandbox: s, group: g, created: now, lastUsed: now, gone: make(chan struct{})}
}

// able reports whether i serves or could serve requests; one that is spent or
// on its way out does not make up for a start.
func (i *instance) able() bool { return !i.retired && !i.spent && !i.aside }

// proved reports whether the function is known to work in i: the loss of one
// that has done nothing yet counts as a start that failed.
func (i *instance) proved() bool { return i.served > 0 || i.adopted }

func (i *instance) idle() bool { return i.inFlight == 0 && !i.retired }

// footprint is what stopping i is expected to free, in bytes.
func (i *instance) footprint() int64 {
	if m := i.memory.Load(); m > 0 {
		return m
	}
	return i.group.footprint.estimate()
}

// An attachment boxes the data path's value so that it can be swapped
// atomically.
type attachment struct{ closer io.Closer }

// detached marks an instance whose attachment has been closed for good.
var detached = new(attachment)

func (i *instance) attached() io.Closer {
	if a := i.attachment.Load(); a != nil {
		return a.closer
	}
	return nil
}

// attach returns the value in place, which is c if there was none. On an
// instance that is gone, c is closed: nobody else would.
func (i *instance) attach(c io.Closer) io.Closer {
	if i.attachment.CompareAndSwap(nil, &attachment{closer: c}) {
		return c
	}
	a := i.attachment.Load()
	if a == detached {
		_ = c.Close() // idle connections to an instance that is gone
		return c
	}
	return a.closer
}

func (i *instance) detach() {
	if a := i.attachment.Swap(detached); a != nil && a != detached {
		_ = a.closer.Close() // idle connections to an instance that goes
	}
}
