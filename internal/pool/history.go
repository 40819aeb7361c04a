package pool

import (
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/unifaas/unifaas/internal/faas"
)

// exitsKept is how many exits of a function are remembered.
const exitsKept = 8

// A history is what is worth knowing of a function after its instances are
// gone. All of its revisions share it.
type history struct {
	mu        sync.Mutex
	digest    string // the revision that footprint was measured of
	footprint int64
	exits     []Exit // the oldest first
	lastStart *StartError
}

// An Exit is an instance that ended without having been asked to.
type Exit struct {
	Instance string    `json:"instance"`
	Revision string    `json:"revision"`
	At       time.Time `json:"at"`
	Reason   string    `json:"reason"`
}

// A StartError is a start that failed.
type StartError struct {
	Revision string    `json:"revision"`
	At       time.Time `json:"at"`
	Error    string    `json:"error"` // with all of its causes: for the operator, not for a response
	// Output is what the function printed last, when the launcher's error
	// knows: for the operator, too.
	Output string `json:"output,omitempty"`
}

// remember keeps what an instance of a revision takes; 0 is not known.
func (h *history) remember(digest string, footprint int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if footprint > 0 {
		h.digest, h.footprint = digest, footprint
	}
}

func (h *history) remembered(digest string) (footprint int64, ok bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.footprint, h.digest == digest && h.footprint > 0
}

func (h *history) exited(at time.Time, instance string, rev *faas.Revision, reason string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.exits) == exitsKept {
		h.exits = slices.Delete(h.exits, 0, 1)
	}
	h.exits = append(h.exits, Exit{Instance: instance, Revision: rev.ID(), At: at, Reason: reason})
}

func (h *history) startFailed(at time.Time, rev *faas.Revision, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.lastStart = &StartError{Revision: rev.ID(), At: at, Error: explain(err), Output: outputOf(err)}
}

// outputOf returns the function's last output that err carries, if any.
func outputOf(err error) string {
	var o interface{ Output() string }
	if errors.As(err, &o) {
		return o.Output()
	}
	return ""
}
