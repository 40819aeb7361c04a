package sandboxtest

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/unifaas/unifaas/internal/faas"
	"github.com/unifaas/unifaas/internal/host/boot"
	"github.com/unifaas/unifaas/internal/sandbox"
)

// FakeOptions configures a [Fake]. Every field may be left out.
type FakeOptions struct {
	Name      string    // default "fake"
	Transport Transport // default Unix
	Script    Script    // what goes wrong; default nothing
	World     *World    // what outlives the driver; default one of its own
	// Handler answers the requests of an instance; default is the guest's,
	// see [guest.Handler].
	Handler func(spec sandbox.Spec) http.Handler
	// Capabilities is the answer of Probe; default is that it works.
	Capabilities *sandbox.Capabilities
	// Memory is what each instance's Stats tell, in bytes.
	Memory int64
}

// A Fake is a driver without a sandbox. Its instances are HTTP servers in
// this process, reached through real sockets, and it counts what they hold.
// A revision's environment decides how an instance starts, as it does for the
// guest: [guest.ModeEnv]. Steps fail, hang and wait as the script says.
type Fake struct {
	*stage
	options FakeOptions
}

// NewFake returns a Fake.
func NewFake(o FakeOptions) *Fake {
	if o.Name == "" {
		o.Name = "fake"
	}
	if o.World == nil {
		o.World = &World{}
	}
	if o.Capabilities == nil {
		o.Capabilities = &sandbox.Capabilities{Works: true, MemoryEstimate: 1 << 20}
	}
	return &Fake{stage: newStage(o.Script), options: o}
}

// World returns what holds the driver's instances.
func (d *Fake) World() *World { return d.options.World }

// Name returns the options' name.
func (d *Fake) Name() string { return d.options.Name }

// Probe returns the options' capabilities.
func (d *Fake) Probe(ctx context.Context) sandbox.Capabilities {
	if err := d.enter(StepProbe, "", faas.Ref{}).suffer(ctx); err != nil {
		return sandbox.Capabilities{Reason: err.Error()}
	}
	return *d.options.Capabilities
}

// fakeArtifact is what a fake prepares: nothing but the proof that it did.
type fakeArtifact struct{ digest string }

// Prepare does nothing that takes time by itself.
func (d *Fake) Prepare(ctx context.Context, rev *faas.Revision) (sandbox.Artifact, error) {
	if err := d.enter(StepPrepare, "", rev.Function.Ref).suffer(ctx); err != nil {
		return nil, err
	}
	return fakeArtifact{rev.Digest}, nil
}

// FakeState is the state that a fake records: the resources that its instance
// holds or is about to take.
type FakeState struct {
	Resources []string `json:"resources"`
}

// FakeResources is the number of things that an instance takes hold of, each
// a call of StepRecord and then of StepAcquire.
const FakeResources = 3

// Start takes the instance's resources one by one, each recorded first, and
// sets its program going.
func (d *Fake) Start(ctx context.Context, artifact sandbox.Artifact, spec sandbox.Spec) (sandbox.Instance, error) {
	ref := spec.Revision.Function.Ref
	if a, ok := artifact.(fakeArtifact); !ok || a.digest != spec.Revision.Digest {
		return nil, fmt.Errorf("start instance %q: the artifact %v is not of revision %v", spec.ID, artifact, spec.Revision)
	}
	if err := d.enter(StepStart, spec.ID, ref).suffer(ctx); err != nil {
		return nil, err
	}
	inst := newFakeInstance(d, spec)
	if err := inst.acquire(ctx); err != nil {
		inst.end(crashed)
		inst.undo()
		return nil, fmt.Errorf("start instance %q: %w", spec.ID, err)
	}
	go inst.run()
	return &fakeHandle{inst, d.stage}, nil
}

// Recover returns the instance when the world still has it and it runs.
func (d *Fake) Recover(ctx context.Context, rec sandbox.Record) (sandbox.Instance, error) {
	if err := d.enter(StepRecover, rec.ID, rec.Function).suffer(ctx); err != nil {
		return nil, err
	}
	inst := d.options.World.find(rec.ID)
	if inst == nil || !boot.IsCurrent(rec.BootID) {
		return nil, sandbox.ErrGone
	}
	var state FakeState
	if len(rec.State) > 0 {
		if err := json.Unmarshal(rec.State, &state); err != nil {
			return nil, fmt.Errorf("recover instance %q: %w", rec.ID, err)
		}
	}
	select {
	case <-inst.done:
	default:
		if len(state.Resources) == FakeResources {
			return &fakeHandle{inst, d.stage}, nil
		}
		inst.end(crashed)
	}
	inst.undo()
	return nil, sandbox.ErrGone
}
