package e2e

import (
	"testing"
	"time"
)

// TestTwoPlatformsDontTouchEachOther kills one platform under load, again and
// again; the other must not lose a request.
func TestTwoPlatformsDontTouchEachOther(t *testing.T) {
	const keep = "concurrency = 2\nkeepalive = \"10m\""
	calm, wild := newPlatform(t), newPlatform(t)
	warm, cold := calm.deploy(t, "warm", keep), calm.deploy(t, "cold", "single-use = true")
	calm.start(t)
	theirs := wild.deploy(t, "warm", keep)
	wild.deploy(t, "cold", "single-use = true")
	wild.start(t)

	warmLoad := startLoad(calm.at(warm, "/hello"), 2, 5*time.Millisecond, nil)
	defer warmLoad.stop()
	coldLoad := startLoad(calm.at(cold, "/hello"), 1, 0, nil)
	defer coldLoad.stop()
	for range 4 {
		loads := []*load{
			startLoad(wild.at(theirs, "/hello"), 2, 5*time.Millisecond, nil),
			startLoad(wild.at("cold", "/hello"), 1, 0, nil),
		}
		loads[0].more(t, 20)
		loads[1].more(t, 1)
		wild.kill(t)
		for _, l := range loads {
			l.stop()
		}
		coldLoad.more(t, 1)
		wild.start(t)
		wild.want(t, theirs, "/hello")
	}
	wild.stop(t)
	warmLoad.more(t, 20)
	coldLoad.more(t, 1)
	warmLoad.wantNoFailure(t, "warm requests to the other platform")
	coldLoad.wantNoFailure(t, "cold requests to the other platform")
	calm.stop(t)
}
