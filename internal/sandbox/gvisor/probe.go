package gvisor

import (
	"context"

	"github.com/unifaas/unifaas/internal/sandbox"
)

func (d *Driver) Probe(ctx context.Context) sandbox.Capabilities {
	return sandbox.Capabilities{Works: true}
}
