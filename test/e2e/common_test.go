package e2e

import (
	"sync"
	"testing"
)

// common is the platform of the tests that need none of their own.
var common = sync.OnceValues(func() (*platform, error) {
	p, err := makePlatform()
	if err != nil {
		return nil, err
	}
	commonStarted = p
	return p, p.launch()
})

var commonStarted *platform

// commonPlatform returns the platform that tests share. What is deployed
// there goes with the test that deployed it.
func commonPlatform(t testing.TB) *platform {
	t.Helper()
	needsGVisor(t)
	p, err := common()
	if err != nil {
		t.Fatal(err)
	}
	begin := p.journal.length()
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("log of the common platform:\n%s", p.journal.since(begin))
		}
		if !p.running() {
			t.Errorf("the common platform has ended: %v\n%s", p.cmd.ProcessState, p.journal.tail(50))
		}
	})
	return p
}

func stopCommon() error {
	if commonStarted == nil {
		return nil
	}
	return commonStarted.finish()
}
