package sandboxtest

import (
	"fmt"
	"sort"
	"sync"
)

// A World is the machine of fakes: what outlives a driver. Drivers that share
// one see each other's instances, as platforms before and after a crash do.
// The zero value is ready for use.
type World struct {
	mu        sync.Mutex
	held      map[string]int // "instance/resource"
	instances map[string]*fakeInstance
	peak      int
}

// Held lists, sorted, what instances hold now, as "instance/resource". Empty
// means that nothing leaked.
func (w *World) Held() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var held []string
	for name, n := range w.held {
		if n != 1 {
			name = fmt.Sprintf("%s (%d times)", name, n)
		}
		held = append(held, name)
	}
	sort.Strings(held)
	return held
}

// Instances lists, sorted, the IDs of the instances that have not been
// stopped; those that ended by themselves are among them.
func (w *World) Instances() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	ids := make([]string, 0, len(w.instances))
	for id := range w.instances {
		ids = append(ids, id)
	}
	sort.Strings(ids)
	return ids
}

// Peak returns the largest number of instances that there were at once.
func (w *World) Peak() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.peak
}

// Crash ends instance id in the middle of whatever it does, as a function
// that dies would. It reports whether there was such an instance.
func (w *World) Crash(id string) bool {
	inst := w.find(id)
	if inst != nil {
		inst.end(crashed)
	}
	return inst != nil
}

func (w *World) hold(id, resource string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.held == nil {
		w.held = map[string]int{}
	}
	w.held[id+"/"+resource]++
}

func (w *World) release(id, resource string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	name := id + "/" + resource
	if w.held[name]--; w.held[name] == 0 {
		delete(w.held, name)
	}
}

func (w *World) put(inst *fakeInstance) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.instances == nil {
		w.instances = map[string]*fakeInstance{}
	}
	w.instances[inst.id] = inst
	w.peak = max(w.peak, len(w.instances))
}

func (w *World) find(id string) *fakeInstance {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.instances[id]
}

func (w *World) drop(inst *fakeInstance) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.instances[inst.id] == inst {
		delete(w.instances, inst.id)
	}
}
