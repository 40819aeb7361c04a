package docker

import (
	"errors"
	"os"
	"syscall"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"

	"github.com/unifaas/unifaas/internal/faas"
)

// An internal network of Docker's leads to no other network, but its
// containers still reach the machine by the bridge's own address, and by all
// the others that it has. These rules, in a table of the platform's own, let
// them answer and nothing else.

func (b *bridge) table() *nftables.Table {
	return &nftables.Table{Family: nftables.TableFamilyINet, Name: "unifaas-docker-" + b.node}
}

// shut closes the machine to the bridge's containers. An ordinary user may
// not, which the probe tells.
func (b *bridge) shut() error {
	if os.Geteuid() != 0 {
		return nil
	}
	c, err := nftables.New()
	if err != nil {
		return err
	}
	table := c.AddTable(b.table())
	c.FlushTable(table) // what an earlier run left
	input := c.AddChain(&nftables.Chain{
		Name: "input", Table: table, Type: nftables.ChainTypeFilter,
		Hooknum: nftables.ChainHookInput, Priority: nftables.ChainPriorityFilter,
	})
	forward := c.AddChain(&nftables.Chain{
		Name: "forward", Table: table, Type: nftables.ChainTypeFilter,
		Hooknum: nftables.ChainHookForward, Priority: nftables.ChainPriorityFilter,
	})
	c.AddRule(&nftables.Rule{Table: table, Chain: input, Exprs: append(append(b.fromBridge(), answers()...), &expr.Verdict{Kind: expr.VerdictAccept})})
	for _, chain := range []*nftables.Chain{input, forward} {
		c.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: append(b.fromBridge(), &expr.Verdict{Kind: expr.VerdictDrop})})
	}
	if err := c.Flush(); err != nil {
		return faas.Errorf(faas.KindUnavailable,
			"cannot keep containers from this machine's own addresses: %w; load the kernel module nf_tables, or use a runtime like runc", err)
	}
	return nil
}

// open takes the rules away.
func (b *bridge) open() error {
	if os.Geteuid() != 0 {
		return nil
	}
	c, err := nftables.New()
	if err != nil {
		return err
	}
	c.DelTable(b.table())
	if err := c.Flush(); err != nil && !errors.Is(err, syscall.ENOENT) {
		return err
	}
	return nil
}

// fromBridge matches packets that come in by the bridge.
func (b *bridge) fromBridge() []expr.Any {
	name := make([]byte, 16) // IFNAMSIZ
	copy(name, b.device())
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: name},
	}
}

// answers matches packets of connections that were begun from the other side.
func answers() []expr.Any {
	mask := binaryutil.NativeEndian.PutUint32(expr.CtStateBitESTABLISHED | expr.CtStateBitRELATED)
	none := binaryutil.NativeEndian.PutUint32(0)
	return []expr.Any{
		&expr.Ct{Key: expr.CtKeySTATE, Register: 1},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: mask, Xor: none},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: none},
	}
}
