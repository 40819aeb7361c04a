package claim

import (
	"testing"

	"github.com/unifaas/unifaas/internal/lab/paper"
)

// TestPaper: what the paper says comes out of what was published with it.
func TestPaper(t *testing.T) {
	published, err := paper.Run()
	if err != nil {
		t.Fatal(err)
	}
	for _, j := range Judge(published) {
		if j.Outcome != Confirmed {
			t.Errorf("%s %s: %s", j.Claim, j.Outcome, j.Evidence)
		}
		t.Log(j)
	}
}
