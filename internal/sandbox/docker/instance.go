package docker

import (
	"context"
	"net/netip"
	"os"
	"path"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/unifaas/unifaas/internal/callback"
	"github.com/unifaas/unifaas/internal/faas"
	"github.com/unifaas/unifaas/internal/host/cgroup"
	"github.com/unifaas/unifaas/internal/host/netns"
	"github.com/unifaas/unifaas/internal/sandbox"
)

// An instance is one container.
type instance struct {
	driver *Driver
	id     string // the container's name, too
	port   uint16
	ready  faas.Ready
	memory int64 // its limit, bytes

	// These are set before the instance is handed out.
	pid    int
	netns  *netns.Handle // the way in, if it is not addr
	addr   netip.Addr    // on a bridge
	group  *cgroup.Group // nil when it can't be found
	called *callback.Call
	// recovered: it may have called back in an earlier run.
	recovered bool
	conns     conns

	output atomic.Pointer[pump] // nil when nobody takes it

	mu        sync.Mutex
	container string // its ID, once it has been started
	stopping  bool   // what ends it is us
	oom       bool

	ending   chan struct{} // closed when the container is known to have ended
	conclude sync.Once
	done     chan struct{}
	exit     sandbox.Exit // valid once done is closed

	stopMu  sync.Mutex // serialises release
	stopped bool
}

func newInstance(d *Driver, id string, rev *faas.Revision) *instance {
	fn := &rev.Function
	return &instance{
		driver: d, id: id, port: uint16(fn.Port), ready: fn.Ready,
		memory: withDefaults(fn).Memory, done: make(chan struct{}), ending: make(chan struct{}),
	}
}

// ID returns the instance's name.
func (i *instance) ID() string { return i.id }

// Done is closed when the container has ended.
func (i *instance) Done() <-chan struct{} { return i.done }

// Wait blocks until the container has ended and tells how.
func (i *instance) Wait() sandbox.Exit {
	<-i.done
	return i.exit
}

func (i *instance) hasEnded() bool {
	select {
	case <-i.done:
		return true
	default:
		return false
	}
}

// setStarted says that the container with this ID has been started: from now
// on its end is the instance's. Before, it is nothing: what is being started
// may be removed by others and made again. Whoever calls it looks afterwards
// whether the container still runs.
func (i *instance) setStarted(container string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.container = container
}

// hasStarted reports whether the container has been started, and is the one
// with this ID, if one is given.
func (i *instance) hasStarted(container string) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.container != "" && (container == "" || container == i.container)
}

// Stats measures the instance by its cgroup, or else asks the Engine.
func (i *instance) Stats(ctx context.Context) (sandbox.Stats, error) {
	if i.hasEnded() {
		return sandbox.Stats{}, faas.Errorf(faas.KindBroken, "instance %q has ended: %s", i.id, i.exit)
	}
	if i.group != nil {
		if s, err := i.group.Stats(); err == nil {
			return sandbox.Stats{Memory: s.Memory, CPU: s.CPU, Pids: s.Pids}, nil
		}
	}
	return i.driver.engine.stats(ctx, i.id)
}

// findGroup finds the cgroup that the runtime has put process pid in. That it
// bears the container's ID proves that the process is the container's.
func (d *Driver) findGroup(pid int, containerID string) (group *cgroup.Group, ours bool) {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cgroup")
	if err != nil {
		return nil, false
	}
	for line := range strings.Lines(string(text)) {
		// hierarchy:controllers:path, as in cgroups(7).
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(parts) != 3 || !strings.Contains(parts[2], containerID) {
			continue
		}
		ours = true
		if parts[1] == "memory" || parts[0] == "0" && group == nil {
			dir, name := path.Split(parts[2])
			group = d.groups.At(dir, name)
		}
	}
	return group, ours
}

// lastWords is how long a container that has ended is waited for to tell
// everything: its output, and why it was killed.
const lastWords = 500 * time.Millisecond
