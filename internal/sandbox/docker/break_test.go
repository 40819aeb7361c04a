package docker_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/unifaas/unifaas/internal/faas"
	"github.com/unifaas/unifaas/internal/sandbox/sandboxtest/breakout"
	"github.com/unifaas/unifaas/internal/sandbox/sandboxtest/dockertest"
)

// TestBreakOut runs a program that tries what Docker's defaults forbid, in a
// function of the native form.
func TestBreakOut(t *testing.T) {
	for name, user := range breakout.Users {
		t.Run("runc/"+name, func(t *testing.T) { breakOut(t, user, "", harmless) })
		t.Run("runsc/"+name, func(t *testing.T) {
			breakOut(t, user, dockertest.Get(t, dockertest.Options{}).Runsc(t), harmlessInGVisor)
		})
	}
}

func breakOut(t *testing.T, user, runtime string, harmless map[string]string) {
	p := newPlatform(t, dockertest.Options{})
	rootfs := build(t, breakout.Package)
	if err := os.Rename(filepath.Join(rootfs, "program"), filepath.Join(rootfs, "breaker")); err != nil {
		t.Fatal(err)
	}
	breakout.AddSetuid(t, rootfs)
	rev := p.revision(rootfs, func(rev *faas.Revision) {
		rev.Function.Command, rev.Function.Runtime, rev.Image.Config.User = []string{"/breaker"}, runtime, user
		rev.Function.Limits.Memory = 256 << 20
	})
	r := p.start(p.prepare(rev), rev)
	breakout.Check(t, func(path string) (string, error) { return get(p.ctx(), r, path) }, harmless)
}

const (
	ownDevices = "a container's /dev is a small file system of its own, which can be written to"
	ofEngine   = "the Engine's own system call filter and masks decide, those of Docker 20.10 here; newer ones forbid it"
	inGuest    = "it is done to gVisor's kernel, not to the host's, and to what is the container's there"
)

// harmless is what may work on the host's kernel.
var harmless = map[string]string{
	"touch null": ownDevices, "write /dev/new": ownDevices,
	"io_uring": ofEngine, "vsock": ofEngine, "kernel crypto": ofEngine, "read /proc/interrupts": ofEngine,
}

// harmlessInGVisor is what may work in gVisor, which makes a container of its
// own, without the Engine's filter.
var harmlessInGVisor = map[string]string{
	"touch null": ownDevices, "write /dev/new": ownDevices,
	"clone user": inGuest, "unshare user": inGuest, "clone3": inGuest, "handle": inGuest, "interface": inGuest,
	"kernel crypto": inGuest, "vsock": inGuest, "keyctl": inGuest, "oom score": inGuest, "perf_event": inGuest,
	"personality": inGuest, "priority": inGuest, "real time": inGuest, "syslog": inGuest, "write /proc/sysrq-trigger": inGuest,
}
