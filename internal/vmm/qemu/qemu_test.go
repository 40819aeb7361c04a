package qemu_test

import (
	"strings"
	"testing"
	"time"
)

func TestBoots(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		c, console := r.config("poweroff")
		began := time.Now()
		m := r.start(c)
		started := time.Since(began)
		console.await("guest: poweroff")
		t.Logf("started in %v, first process after %v", started, time.Since(began))
		exit := m.Wait()
		if exit.Code != 0 || !exit.Reboot || !strings.Contains(exit.Reason, "powered off") {
			t.Errorf("exit: got %+v", exit)
		}
	})
}
