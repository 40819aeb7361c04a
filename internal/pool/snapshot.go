package pool

import (
	"slices"
	"strings"
	"time"

	"github.com/unifaas/unifaas/internal/faas"
	"github.com/unifaas/unifaas/internal/sandbox"
)

// State is what an instance is doing.
type State string

// The states of an instance. A retiring one takes no new requests; a used-up
// single-use one that waits for the end of its keepalive is idle.
const (
	Starting State = "starting"
	Idle     State = "idle"
	Busy     State = "busy"
	Suspect  State = "suspect" // idle, and late with the answer to its health check
	Retiring State = "retiring"
	Stopping State = "stopping"
)

// A FunctionStatus is what the pool holds of one function.
type FunctionStatus struct {
	Function faas.Ref `json:"function"`
	// Revision is the short name of the current revision; "" when the
	// function is not deployed any more.
	Revision string `json:"revision"`
	// StandIn is the short name of the revision that serves while the current
	// one keeps failing; "" where it has no fallback.
	StandIn string `json:"stand_in,omitempty"`
	// Relief tells since when and why it does; nil when it does not.
	Relief    *Relief          `json:"relief,omitempty"`
	Instances []InstanceStatus `json:"instances"`
	Queued    int              `json:"queued"` // requests that wait, for whatever revision
	// Failures counts the current revision's failed starts in a row. No start
	// is made before BackoffUntil, nil when starts are allowed.
	Failures       int         `json:"failures"`
	BackoffUntil   *time.Time  `json:"backoff_until,omitempty"`
	LastStartError *StartError `json:"last_start_error,omitempty"`
	// Exits are the last instances that ended without having been asked to,
	// the oldest first.
	Exits []Exit `json:"exits,omitempty"`
}

// A Relief is the time during which a function is served by its fallback.
type Relief struct {
	Since  time.Time `json:"since"`
	Next   time.Time `json:"next"` // when its own sandbox is tried again
	Reason string    `json:"reason"`
}

// An InstanceStatus is what the pool knows about one instance.
type InstanceStatus struct {
	ID       string    `json:"id"` // "" while it starts
	Revision string    `json:"revision"`
	Sandbox  string    `json:"sandbox"`
	State    State     `json:"state"`
	InFlight int       `json:"in_flight"`
	Served   int       `json:"served"` // requests that ended well
	Created  time.Time `json:"created"`
	LastUsed time.Time `json:"last_used"`
	Memory   int64     `json:"memory"` // bytes, last measured; 0 is unknown
	// Phases are those of its start; nil where they are not known.
	Phases []sandbox.Phase `json:"phases,omitempty"`
}

// Snapshot returns the functions of which something runs, waits or is
// remembered, sorted by name. The functions are read one after the other, so
// it is consistent within a revision, not across them.
func (p *Pool) Snapshot() []FunctionStatus {
	byRef := p.remembered()
	now := time.Now()
	for _, g := range p.index.all() {
		st := byRef[g.key.ref]
		if st == nil { // deployed since
			st = &FunctionStatus{Function: g.key.ref}
			byRef[g.key.ref] = st
		}
		g.describe(st, now)
	}
	all := make([]FunctionStatus, 0, len(byRef))
	for _, st := range byRef {
		slices.SortStableFunc(st.Instances, func(a, b InstanceStatus) int { return a.Created.Compare(b.Created) })
		all = append(all, *st)
	}
	slices.SortFunc(all, func(a, b FunctionStatus) int {
		return strings.Compare(a.Function.String(), b.Function.String())
	})
	return all
}

// remembered begins a status for each function that has a history.
func (p *Pool) remembered() map[faas.Ref]*FunctionStatus {
	x := &p.index
	x.mu.RLock()
	defer x.mu.RUnlock()
	byRef := make(map[faas.Ref]*FunctionStatus, len(x.histories))
	for ref, h := range x.histories {
		st := &FunctionStatus{Function: ref}
		if rev := x.current[ref]; rev != nil {
			st.Revision = rev.ID()
			if rev.Fallback != nil {
				st.StandIn = rev.Fallback.ID()
			}
		}
		h.mu.Lock()
		st.Exits = slices.Clone(h.exits)
		st.LastStartError = h.lastStart
		h.mu.Unlock()
		byRef[ref] = st
	}
	return byRef
}

func (g *group) describe(st *FunctionStatus, now time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	st.Queued += g.waiters.n
	if !g.draining && !g.standIn {
		st.Revision = g.rev.ID()
		st.Failures = g.backoff.failures
		if g.backoff.active(now) {
			until := g.backoff.until
			st.BackoffUntil = &until
		}
	}
	if r := &g.relief; r.active() {
		st.Relief = &Relief{Since: r.since, Next: r.until, Reason: r.reason}
	}
	for _, s := range g.starts {
		st.Instances = append(st.Instances, InstanceStatus{
			Revision: g.rev.ID(), Sandbox: g.rev.Function.Sandbox, State: Starting, Created: s.began, LastUsed: s.began,
		})
	}
	for _, i := range g.instances {
		st.Instances = append(st.Instances, InstanceStatus{
			ID: i.sandbox.ID(), Revision: g.rev.ID(), Sandbox: g.rev.Function.Sandbox, State: i.state(), InFlight: i.inFlight, Served: i.served,
			Created: i.born(), LastUsed: i.lastUsed, Memory: i.memory.Load(), Phases: i.phases(),
		})
	}
}

// born is when the instance was made, which for one that was adopted is long
// before it entered the pool.
func (i *instance) born() time.Time {
	if c, ok := i.sandbox.(interface{ Created() time.Time }); ok {
		return c.Created()
	}
	return i.created
}

func (i *instance) phases() []sandbox.Phase {
	if t, ok := i.sandbox.(sandbox.Traced); ok {
		return t.Phases()
	}
	return nil
}

func (i *instance) state() State {
	switch {
	case i.stopping:
		return Stopping
	case i.retired:
		return Retiring
	case i.inFlight > 0:
		return Busy
	case i.aside:
		return Suspect
	default:
		return Idle
	}
}
