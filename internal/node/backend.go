package node

import (
	"context"
	"os"

	"github.com/unifaas/unifaas/internal/catalog"
	"github.com/unifaas/unifaas/internal/control"
	"github.com/unifaas/unifaas/internal/faas"
	"github.com/unifaas/unifaas/internal/logs"
	"github.com/unifaas/unifaas/internal/pool"
)

// backend is the node as the control API sees it.
type backend Node

var _ control.Backend = (*backend)(nil)

// Status implements [control.Backend].
func (b *backend) Status() control.Status {
	n := (*Node)(b)
	return control.Status{
		Version: n.opts.Version, Node: n.state.node, PID: os.Getpid(),
		Gateway: n.GatewayAddress(), Admin: n.AdminAddress(), Ready: n.admin.ready.Load(),
		Started: n.started, Functions: n.catalog.Snapshot().Len(),
	}
}

// Functions implements [control.Backend].
func (b *backend) Functions() []control.Function {
	running := map[faas.Ref]pool.FunctionStatus{}
	for _, st := range b.pool.Snapshot() {
		running[st.Function] = st
	}
	list := b.catalog.Snapshot().List()
	functions := make([]control.Function, 0, len(list))
	for _, st := range list {
		functions = append(functions, function(st, running[st.Ref]))
	}
	return functions
}

func function(st *catalog.Status, running pool.FunctionStatus) control.Function {
	f := control.Function{Name: st.Ref.String(), Instances: len(running.Instances), Queued: running.Queued}
	if st.Err != nil {
		f.Error = st.Err.Error()
	}
	if rev := st.Revision; rev != nil {
		f.Sandbox, f.Revision, f.Image = rev.Function.Sandbox, rev.ID(), rev.Function.Image.String()
	}
	f.Origin = st.Origin.Kind
	if st.Conflict != nil {
		f.Conflict = st.Conflict.Error()
	}
	return f
}

// Describe implements [control.Backend].
func (b *backend) Describe(name string) (*control.Detail, error) {
	st, ok := b.catalog.Snapshot().Status(name)
	if !ok {
		return nil, faas.Errorf(faas.KindNotFound, "no function %q; see unifaas list", name)
	}
	var running pool.FunctionStatus
	for _, s := range b.pool.Snapshot() {
		if s.Function == st.Ref {
			running = s
		}
	}
	d := &control.Detail{
		Function: function(st, running), Loaded: st.Loaded, File: st.Origin.File,
		Running: b.instances(running), Exits: b.exits(name, running), FailedStarts: running.Failures,
		Relief: (*control.Relief)(running.Relief),
	}
	d.Deployed, d.Previous = b.deployed.Deployed(name)
	if rev := st.Revision; rev != nil {
		d.Dir, d.Digest, d.ImageDigest, d.Config = rev.Function.Dir, rev.Digest, rev.Image.Digest, &rev.Function
		d.SandboxDetail = b.launcher.Detail(rev)
	}
	if e := running.LastStartError; e != nil {
		d.StartError = &control.StartError{At: e.At, Error: e.Error, Output: e.Output}
	}
	if running.BackoffUntil != nil {
		d.RetryAt = *running.BackoffUntil
	}
	return d, nil
}

// exitLines is how much output is shown of an instance that ended.
const exitLines = 20

func (b *backend) exits(name string, running pool.FunctionStatus) []control.Exit {
	exits := make([]control.Exit, 0, len(running.Exits))
	for _, x := range running.Exits {
		exit := control.Exit{Instance: x.Instance, At: x.At, Reason: x.Reason}
		if entries, err := b.logs.Read(name, x.Instance, exitLines); err == nil {
			for _, e := range entries {
				exit.Output = append(exit.Output, e.Text)
			}
		}
		exits = append(exits, exit)
	}
	return exits
}

// Instances implements [control.Backend].
func (b *backend) Instances() []control.Instance {
	list := []control.Instance{}
	for _, st := range b.pool.Snapshot() {
		list = append(list, b.instances(st)...)
	}
	return list
}

func (b *backend) instances(st pool.FunctionStatus) []control.Instance {
	list := make([]control.Instance, 0, len(st.Instances))
	for _, i := range st.Instances {
		list = append(list, control.Instance{
			ID: i.ID, Function: st.Function.String(), Revision: i.Revision, Sandbox: i.Sandbox, State: string(i.State),
			InFlight: i.InFlight, Served: i.Served, Memory: i.Memory, Created: i.Created, LastUsed: i.LastUsed,
			Phases: i.Phases,
		})
	}
	return list
}

// Logs implements [control.Backend].
func (b *backend) Logs(ctx context.Context, q control.LogQuery, emit func(logs.Entry) error) error {
	if _, ok := b.catalog.Snapshot().Status(q.Function); !ok {
		return faas.Errorf(faas.KindNotFound, "no function %q; see unifaas list", q.Function)
	}
	if q.Follow {
		return b.logs.Follow(ctx, q.Function, q.Instance, q.Tail, emit)
	}
	entries, err := b.logs.Read(q.Function, q.Instance, q.Tail)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := emit(e); err != nil {
			return err
		}
	}
	return nil
}
