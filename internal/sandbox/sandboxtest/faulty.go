package sandboxtest

import (
	"context"
	"net"

	"github.com/unifaas/unifaas/internal/faas"
	"github.com/unifaas/unifaas/internal/sandbox"
)

// A FaultyDriver is a driver whose steps fail, hang or wait as a script says.
// A fault comes before the step: when it fails, the step itself is not done.
type FaultyDriver struct {
	sandbox.Driver
	*stage
}

// Faulty returns driver with script's faults.
func Faulty(driver sandbox.Driver, script Script) *FaultyDriver {
	return &FaultyDriver{Driver: driver, stage: newStage(script)}
}

// Probe says that nothing works when the script fails it.
func (d *FaultyDriver) Probe(ctx context.Context) sandbox.Capabilities {
	if err := d.enter(StepProbe, "", faas.Ref{}).suffer(ctx); err != nil {
		return sandbox.Capabilities{Reason: err.Error()}
	}
	return d.Driver.Probe(ctx)
}

// Prepare is the driver's, with StepPrepare's faults.
func (d *FaultyDriver) Prepare(ctx context.Context, rev *faas.Revision) (sandbox.Artifact, error) {
	if err := d.enter(StepPrepare, "", rev.Function.Ref).suffer(ctx); err != nil {
		return nil, err
	}
	return d.Driver.Prepare(ctx, rev)
}

// Start is the driver's, with the faults of StepStart and StepRecord.
func (d *FaultyDriver) Start(ctx context.Context, artifact sandbox.Artifact, spec sandbox.Spec) (sandbox.Instance, error) {
	ref := spec.Revision.Function.Ref
	if err := d.enter(StepStart, spec.ID, ref).suffer(ctx); err != nil {
		return nil, err
	}
	record := spec.Record
	spec.Record = func(state any) error {
		if err := d.enter(StepRecord, spec.ID, ref).suffer(ctx); err != nil {
			return err
		}
		return record(state)
	}
	inst, err := d.Driver.Start(ctx, artifact, spec)
	if err != nil {
		return nil, err
	}
	return d.wrap(inst, ref), nil
}

// Recover is the driver's, with StepRecover's faults.
func (d *FaultyDriver) Recover(ctx context.Context, rec sandbox.Record) (sandbox.Instance, error) {
	if err := d.enter(StepRecover, rec.ID, rec.Function).suffer(ctx); err != nil {
		return nil, err
	}
	inst, err := d.Driver.Recover(ctx, rec)
	if err != nil {
		return nil, err
	}
	return d.wrap(inst, rec.Function), nil
}

// wrap keeps the one optional power there is.
func (d *FaultyDriver) wrap(inst sandbox.Instance, ref faas.Ref) sandbox.Instance {
	faulty := &faultyInstance{Instance: inst, stage: d.stage, ref: ref}
	if s, ok := inst.(sandbox.Statser); ok {
		return &faultyStatser{faulty, s}
	}
	return faulty
}

type faultyInstance struct {
	sandbox.Instance
	stage *stage
	ref   faas.Ref
}

type faultyStatser struct {
	*faultyInstance
	sandbox.Statser
}

func (i *faultyInstance) Ready(ctx context.Context) error {
	if err := i.stage.enter(StepReady, i.ID(), i.ref).suffer(ctx); err != nil {
		return err
	}
	return i.Instance.Ready(ctx)
}

func (i *faultyInstance) Dial(ctx context.Context) (net.Conn, error) {
	if err := i.stage.enter(StepDial, i.ID(), i.ref).suffer(ctx); err != nil {
		return nil, err
	}
	return i.Instance.Dial(ctx)
}

func (i *faultyInstance) Stop(ctx context.Context) error {
	if err := i.stage.enter(StepStop, i.ID(), i.ref).suffer(ctx); err != nil {
		return err
	}
	return i.Instance.Stop(ctx)
}
