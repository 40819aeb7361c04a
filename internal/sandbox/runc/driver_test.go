package runc_test

import (
	"testing"

	"github.com/unifaas/unifaas/internal/sandbox"
	"github.com/unifaas/unifaas/internal/sandbox/runc"
	"github.com/unifaas/unifaas/internal/sandbox/sandboxtest"
)

func TestConformance(t *testing.T) {
	sandboxtest.Run(t, sandboxtest.Harness{
		New: func(_ testing.TB, host sandbox.Host) sandbox.Driver { return runc.New(host) },
	})
}
