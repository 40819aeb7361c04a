// Package sandbox is the contract between the platform and the ways in which
// it can isolate a function. It knows no particular sandbox; drivers live in
// folders below it, never import each other, and are listed in all/all.go.
package sandbox

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"os"
	"time"

	"github.com/unifaas/unifaas/internal/faas"
)

// A Driver starts instances in one kind of sandbox. Its methods may be called
// concurrently.
type Driver interface {
	// Name is the value of a function's sandbox key, for instance "gvisor".
	Name() string

	// Probe tells whether the sandbox can run here, by trying the real thing
	// where that is the only way to know. It leaves nothing behind. ctx bounds
	// it; running out of time is an answer ("does not work"), not an error.
	Probe(ctx context.Context) Capabilities

	// Prepare does everything slow that a revision needs and that is the same
	// for all of its instances. It is idempotent, content-addressed and safe
	// against a crash half-way. It may run concurrently for the same revision.
	Prepare(ctx context.Context, rev *faas.Revision) (Artifact, error)

	// Start makes an instance and returns as soon as it has been started; it
	// may not be able to serve yet (see [Instance.Ready]). ctx bounds the
	// start, never the instance's life. Before each acquisition of something
	// that outlives this process, Start records it with spec.Record. On error
	// nothing is left behind.
	Start(ctx context.Context, artifact Artifact, spec Spec) (Instance, error)

	// Recover is called after a crash of the platform with what was recorded.
	// It returns the instance when it still runs and can be served through,
	// or cleans up everything the record names and returns [ErrGone].
	// It is idempotent: a crash during Recover is followed by another.
	Recover(ctx context.Context, rec Record) (Instance, error)
}

// An Artifact is what a driver prepared for a revision. Only the driver that
// made it looks inside.
type Artifact any

// A Keeper is an Artifact of which there are files that its driver removes when
// nobody has wanted them for long.
type Keeper interface {
	// Keep wants them. It is called time and again while the revision is served.
	Keep() error
}

// An Instance is one running sandbox. Its methods may be called concurrently.
type Instance interface {
	// ID returns the Spec's ID.
	ID() string

	// Ready returns nil as soon as the function can serve, or an error when
	// the instance ended first or ctx is done. It does not quantise: whoever
	// knows says so, or the poll is far below the start's duration.
	Ready(ctx context.Context) error

	// Dial opens a connection to the function's port. ctx bounds the dial
	// only. The connection supports CloseWrite when the transport can.
	Dial(ctx context.Context) (net.Conn, error)

	// Done is closed when the function has ended, for whatever reason.
	Done() <-chan struct{}

	// Wait blocks until the function has ended and tells how.
	Wait() Exit

	// Stop ends the instance at once and undoes everything it holds. It is
	// idempotent; concurrent calls all return when the work is done. ctx
	// bounds the wait: on its end the instance may need another Stop.
	Stop(ctx context.Context) error
}

// A Statser is an Instance that can measure itself.
type Statser interface {
	Stats(ctx context.Context) (Stats, error)
}

// Stats is a measurement of one instance, all of its processes together.
type Stats struct {
	Memory int64         // bytes charged to it
	CPU    time.Duration // processor time used since it started
	Pids   int           // processes and threads
}

// Capabilities is the answer of a probe.
type Capabilities struct {
	Works  bool
	Reason string // why it does not work; "" when it does
	Remedy string // what would change that; "" when nothing is known
	// Detail is a note for people, for instance a version or an accelerator.
	Detail string
	// Isolation is what stands between a function and the host's kernel; ""
	// where it depends on the variant or is not known.
	Isolation Isolation
	// MemoryEstimate is what an idle instance takes before any has been
	// measured, in bytes.
	MemoryEstimate int64
	// Variants are the ways in which this sandbox can be had here, where there
	// are several: runtimes, machine monitors. Empty means one.
	Variants []Variant
}

// An Isolation is a kind of boundary between a function and the host's kernel,
// in words for people.
type Isolation string

// The kinds of isolation, from the weakest.
const (
	SharedKernel    Isolation = "shared kernel"        // namespaces and a filter of system calls
	UserSpaceKernel Isolation = "kernel in user space" // a second kernel answers the function's system calls
	VirtualMachine  Isolation = "virtual machine"      // a kernel of its own on virtual hardware
)

// A Variant is one of several ways in which a sandbox can be had.
type Variant struct {
	// Name is that of sandbox and variant together, for instance
	// "docker-runsc".
	Name string `json:"name"`
	// Keys are the lines of a native function.toml that ask for it, beside the
	// sandbox key.
	Keys string `json:"keys"`
	// Isolation is this variant's.
	Isolation Isolation `json:"isolation,omitempty"`
	// Emulated says that a program executes the guest's instructions, not the
	// processor: all that it does takes ten times as long and more.
	Emulated bool `json:"emulated,omitempty"`
}

// A Spec asks for one instance.
type Spec struct {
	// ID names the instance; it is unique on this host, begins with the
	// platform's node id, and has only lower-case letters, digits and hyphens
	// (at most 40). Use it in the name of everything the instance holds.
	ID       string
	Revision *faas.Revision
	// Dir is the instance's private folder, empty, mode 0700. The driver may
	// fill it; the caller removes it after Stop.
	Dir string
	// Output takes the function's standard output and error. It is open for
	// reading and writing, so that it does not break when the platform dies.
	// The driver hands a duplicate to the instance and does not close this one.
	Output *os.File
	// Record replaces the driver's part of the instance's record. It returns
	// once the record would survive this process's death.
	Record func(state any) error
	// Trace is told the start's phases; nil is allowed.
	Trace func(phase string, at time.Time)
}

// Phase reports to s.Trace that a phase has just ended.
func (s *Spec) Phase(name string) {
	if s.Trace != nil {
		s.Trace(name, time.Now())
	}
}

// A Phase is a part of an instance's start.
type Phase struct {
	Name    string  `json:"name"`
	Seconds float64 `json:"seconds"`
}

// A Traced instance tells how its start went. One that was recovered does not
// know.
type Traced interface {
	// Phases returns the phases of the start in their order. The caller must
	// not change them.
	Phases() []Phase
}

// A Record is what is known on disk about an instance.
type Record struct {
	ID       string          `json:"id"`
	Sandbox  string          `json:"sandbox"`
	Function faas.Ref        `json:"function"`
	Revision *faas.Revision  `json:"revision"`
	BootID   string          `json:"boot_id"`
	Created  time.Time       `json:"created"`
	Dir      string          `json:"-"` // the Spec's Dir
	Output   *os.File        `json:"-"` // the Spec's Output, opened again; nil where nobody reads it any more
	State    json.RawMessage `json:"state,omitempty"`
}

// ErrGone is returned by Recover for an instance that no longer exists and of
// which nothing is left.
var ErrGone = fmt.Errorf("instance is gone")

// Exit tells how an instance ended.
type Exit struct {
	Code        int    // exit status of the function, -1 when unknown
	Signal      int    // signal that ended it, 0 when none
	OutOfMemory bool   // it was over its memory limit
	Reason      string // one line for people
	At          time.Time
}

func (e Exit) String() string {
	switch {
	case e.Reason != "":
		return e.Reason
	case e.OutOfMemory:
		return "out of memory"
	case e.Signal != 0:
		return fmt.Sprintf("killed by signal %d", e.Signal)
	default:
		return fmt.Sprintf("exit status %d", e.Code)
	}
}

// A Host is what drivers are built with: the platform's identity on this
// machine and where it keeps things.
type Host struct {
	Node     string // node id, in the name of everything on the host: 1 to 8 of [a-z0-9]
	StateDir string // persistent, private
	RunDir   string // gone after a boot, private
	Exe      string // path of the platform's own binary, for re-execution
	Logger   *slog.Logger
}
