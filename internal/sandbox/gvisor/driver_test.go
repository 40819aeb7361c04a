package gvisor_test

import (
	"os"
	"testing"

	"github.com/unifaas/unifaas/internal/sandbox"
	"github.com/unifaas/unifaas/internal/sandbox/gvisor"
	"github.com/unifaas/unifaas/internal/sandbox/sandboxtest"
)

func TestMain(m *testing.M) {
	gvisor.Dispatch()
	os.Exit(m.Run())
}

func TestConformance(t *testing.T) {
	sandboxtest.Run(t, sandboxtest.Harness{
		New: func(_ testing.TB, host sandbox.Host) sandbox.Driver {
			return gvisor.New(host, gvisor.Options{})
		},
	})
}
