package thread_test

import (
	"os"
	"testing"

	"github.com/unifaas/unifaas/internal/host/thread"
)

func threads(t *testing.T) int {
	t.Helper()
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		t.Fatal(err)
	}
	return len(tasks)
}

func TestReserveMakesThreadsThatStay(t *testing.T) {
	n := threads(t) + 20
	thread.Reserve(n)
	if got := threads(t); got < n {
		t.Errorf("%d threads, want at least %d", got, n)
	}
	before := threads(t)
	thread.Reserve(n) // they are there
	if got := threads(t); got > before+2 {
		t.Errorf("%d threads after a second call, %d before", got, before)
	}
}
