package node

import (
	"context"
	"log/slog"

	"github.com/unifaas/unifaas/internal/host/cgroup"
	"github.com/unifaas/unifaas/internal/host/memory"
)

// instancesMemory is the memory that instances of a node may take, whose
// groups are given: the machine's, or what the control groups around them
// leave of it.
func instancesMemory(groups *cgroup.Parent, log *slog.Logger) memory.Machine {
	return memory.Machine{
		Bound: func() (limit, left int64, err error) {
			m, err := groups.Memory()
			return m.Limit, m.Left, err
		},
		Unbounded: func(err error) { log.Warn("only the machine's memory bounds the instances", "err", err) },
	}
}

// leaveGroup undoes what the platform has changed in its own control group.
func (n *Node) leaveGroup(context.Context) error {
	if err := n.groups.Leave(); err != nil {
		n.opts.Logger.Warn("the platform's control group is not as it was", "err", err)
	}
	return nil
}

// tellSandboxes logs once what each sandbox of this build can do here, which
// an operator should not have to find out by a request.
func (n *Node) tellSandboxes(ctx context.Context) {
	for _, s := range n.launcher.Probe(ctx) {
		switch {
		case ctx.Err() != nil:
			return
		case s.Works:
			n.opts.Logger.Info("sandbox works", "sandbox", s.Name, "detail", s.Detail)
		default:
			n.opts.Logger.Info("sandbox does not work here", "sandbox", s.Name, "reason", s.Reason, "remedy", s.Remedy)
		}
	}
}
