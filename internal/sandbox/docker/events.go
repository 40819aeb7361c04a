package docker

import (
	"context"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/client"
)

const (
	nodeLabel = "unifaas.node" // whose a thing of ours is
	idLabel   = "unifaas.id"   // the instance's ID

	firstPause = 50 * time.Millisecond // before the stream is opened again
	maxPause   = 2 * time.Second
)

// A watcher follows what becomes of the containers of one node, by one stream
// of the Engine's events for all of them. Its methods may be called
// concurrently.
type watcher struct {
	engine *engine
	node   string

	mu        sync.Mutex
	instances map[*instance]bool
	doomed    map[string]bool // containers whose creation was given up, by name
	stop      context.CancelFunc
	stopped   chan struct{}
}

func newWatcher(e *engine, node string) *watcher {
	return &watcher{engine: e, node: node, instances: map[*instance]bool{}, doomed: map[string]bool{}}
}

// add begins to watch i's container, which need not exist yet. It does not
// wait for the stream: the Engine keeps events for those who come late.
func (w *watcher) add(i *instance) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.instances[i] = true
	w.run()
}

// remove ends the watch of i.
func (w *watcher) remove(i *instance) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.instances, i)
}

// doom has the container called name removed if it comes to be after all.
func (w *watcher) doom(name string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.doomed[name] = true
}

// run starts following, unless it was started. The caller holds mu.
func (w *watcher) run() {
	if w.stop != nil {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	w.stop, w.stopped = cancel, make(chan struct{})
	go w.follow(ctx, w.stopped)
}

// close ends the watch of everything.
func (w *watcher) close() {
	w.mu.Lock()
	stop, stopped := w.stop, w.stopped
	w.stop = nil
	w.mu.Unlock()
	if stop != nil {
		stop()
		<-stopped
	}
}

// follow keeps the stream open until ctx ends. After a break it asks again
// from the last event on, and, since an Engine that was restarted remembers
// none, compares what there is.
func (w *watcher) follow(ctx context.Context, stopped chan<- struct{}) {
	defer close(stopped)
	since := time.Now()
	pause := firstPause
	for again := false; ; again = true {
		last, opened := w.stream(ctx, since, again)
		since = last
		if opened {
			pause = firstPause
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
			pause = min(2*pause, maxPause)
		}
	}
}

// stream reads one stream of events to its end. It returns the time from
// which the next has to begin.
func (w *watcher) stream(ctx context.Context, since time.Time, again bool) (last time.Time, opened bool) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if again && !w.compare(ctx) {
		return since, false
	}
	result := w.engine.Events(ctx, client.EventsListOptions{
		Since:   strconv.FormatFloat(float64(since.UnixNano())/1e9, 'f', 9, 64),
		Filters: make(client.Filters).Add("type", "container").Add("label", nodeLabel+"="+w.node),
	})
	for {
		select {
		case m := <-result.Messages:
			since, opened = time.Unix(0, m.TimeNano), true
			w.handle(m)
		case <-result.Err: //nolint:errcheck // whatever broke it, it is opened again
			return since, opened
		}
	}
}

func (w *watcher) handle(m events.Message) {
	switch m.Action {
	case events.ActionCreate:
		w.sweepDoomed(m.Actor.Attributes["name"])
	case events.ActionOOM:
		for _, i := range w.of(m.Actor) {
			i.noteOOM()
		}
	case events.ActionDie:
		code, err := strconv.Atoi(m.Actor.Attributes["exitCode"])
		if err != nil {
			code = -1
		}
		for _, i := range w.of(m.Actor) {
			i.containerDied(code, time.Unix(0, m.TimeNano))
		}
	case events.ActionDestroy:
		for _, i := range w.of(m.Actor) {
			i.containerGone()
		}
	}
}

// of returns the instances whose container is the actor.
func (w *watcher) of(actor events.Actor) []*instance {
	return slices.DeleteFunc(w.named(actor.Attributes["name"]), func(i *instance) bool { return !i.hasStarted(actor.ID) })
}

// named returns the instances whose container is called name: more than one
// where a platform has recovered what it still holds.
func (w *watcher) named(name string) []*instance {
	w.mu.Lock()
	defer w.mu.Unlock()
	var found []*instance
	for i := range w.instances {
		if i.id == name {
			found = append(found, i)
		}
	}
	return found
}

func (w *watcher) sweepDoomed(name string) {
	w.mu.Lock()
	doomed := w.doomed[name]
	delete(w.doomed, name)
	w.mu.Unlock()
	if doomed {
		go func() {
			ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
			defer cancel()
			_ = w.engine.remove(ctx, name) // a sweep finds what this does not
		}()
	}
}

// compare looks at the containers there are and ends the instances whose
// container has ended or gone while there was no stream. It reports whether
// the Engine answered.
func (w *watcher) compare(ctx context.Context) bool {
	w.mu.Lock()
	begun := make([]*instance, 0, len(w.instances))
	for i := range w.instances {
		if i.hasStarted("") {
			begun = append(begun, i)
		}
	}
	w.mu.Unlock()
	states, err := w.engine.containers(ctx, w.node)
	if err != nil {
		return false
	}
	for _, i := range begun {
		switch states[i.id] {
		case container.StateRunning, container.StatePaused, container.StateRestarting:
		case "":
			i.containerGone()
		default:
			i.containerDied(-1, time.Now())
		}
	}
	return true
}

// containers returns the states of the node's containers, by name.
func (e *engine) containers(ctx context.Context, node string) (map[string]container.ContainerState, error) {
	list, err := e.ContainerList(ctx, client.ContainerListOptions{
		All: true, Filters: make(client.Filters).Add("label", nodeLabel+"="+node),
	})
	if err != nil {
		return nil, err
	}
	states := make(map[string]container.ContainerState, len(list.Items))
	for _, c := range list.Items {
		states[c.Labels[idLabel]] = c.State
	}
	return states, nil
}
