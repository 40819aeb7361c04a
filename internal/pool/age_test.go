package pool

import (
	"testing"
	"time"

	"github.com/unifaas/unifaas/internal/faas"
)

// aged is an instance that knows when it was made.
type aged struct {
	*fake
	made time.Time
}

func (a aged) Created() time.Time { return a.made }

func TestAdoptedInstanceKeepsItsAge(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		l := &launcher{}
		p := newPool(t, l)
		rev := function("f")
		made := time.Now().Add(-3 * time.Hour)
		p.Adopt(rev, aged{l.recovered("old", rev), made})
		p.SetRevisions([]*faas.Revision{rev})
		instances := p.Snapshot()[0].Instances
		equal(t, "instances", len(instances), 1)
		equal(t, "made", instances[0].Created.Equal(made), true)
		equal(t, "alive: the keepalive counts from now", len(l.alive()), 1)
	})
}
