package peers

import (
	"context"
	"testing"
	"time"

	"github.com/unifaas/unifaas/internal/faas"
	"github.com/unifaas/unifaas/test/bench/proc"
)

func TestExp(t *testing.T) {
	dir := t.TempDir()
	rev := &faas.Revision{Function: faas.Function{Ref: faas.NewRef("x"), Port: 8080, Command: []string{"/benchmark"},
		Limits: faas.Limits{Memory: 128 << 20, CPUs: 1, Pids: 128, Disk: 64 << 20}}, Image: faas.Image{Rootfs: dir}}
	g := proc.NewGroup(dir)
	defer g.Close()
	ctx, c := context.WithTimeout(context.Background(), 60*time.Second)
	defer c()
	d, err := NewDocker(ctx, g, dir, rev, "/tmp/bench-w/benchmark")
	if err != nil {
		t.Fatal(err)
	}
	for range 5 {
		took, rm, err := d.Run(ctx, "/hello")
		t.Log(took, err)
		t.Log(rm())
	}
	t.Log(d.Close())
}
