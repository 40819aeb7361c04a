package vm

import "github.com/unifaas/unifaas/internal/sandbox"

// Die lets go of what a platform that dies lets go of: a machine's monitor
// hears one platform at a time, and so does a guest.
func Die(inst sandbox.Instance) {
	i := inst.(*instance)
	i.stopMu.Lock()
	defer i.stopMu.Unlock()
	if i.agent != nil {
		_ = i.agent.Close() // its output stays open: the suite's reader takes the end of it for the end
	}
	_ = i.console.close()
	_ = i.machine.Close()
	i.network.Close()
	i.stopped = true
}
