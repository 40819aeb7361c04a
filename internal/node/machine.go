package node

import (
	"context"

	"github.com/unifaas/unifaas/internal/host/cgroup"
	"github.com/unifaas/unifaas/internal/host/memory"
)

// instancesMemory is the memory that instances of this node may take: the
// machine's, or what the control groups around their own leave of it.
func instancesMemory(node string) memory.Machine {
	groups := cgroup.NewParent("unifaas-" + node)
	return memory.Machine{Bound: func() (limit, left int64, err error) {
		m, err := groups.Memory()
		return m.Limit, m.Left, err
	}}
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
