package catalog

import (
	"context"
	"sync"

	"github.com/unifaas/unifaas/internal/faas"
)

// Merge returns a [Source] of the functions of all sources. Where several
// have one of the same name, that of the source named first is delivered, and
// its entry's Conflict tells of the other. This does not depend on which came
// earlier: the same sources always make the same functions. The first listing
// is complete when all of theirs are; when one of them ends with an error, so
// does the merged one.
func Merge(sources ...Source) Source { return merged(sources) }

type merged []Source

// Watch implements [Source].
func (m merged) Watch(ctx context.Context, deliver func(Update)) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	w := &merging{
		deliver:  deliver,
		entries:  make([]map[faas.Ref]Entry, len(m)),
		complete: make([]bool, len(m)),
		missing:  len(m),
	}
	failed := make(chan error, len(m))
	var wg sync.WaitGroup
	for i := range m {
		w.entries[i] = map[faas.Ref]Entry{}
	}
	for i, source := range m {
		wg.Go(func() {
			if err := source.Watch(ctx, func(u Update) { w.update(i, u) }); err != nil {
				failed <- err
				cancel(err)
			}
		})
	}
	wg.Wait()
	select {
	case err := <-failed:
		return err
	default:
		return nil
	}
}

// merging is the state of one Watch.
type merging struct {
	mu       sync.Mutex // held while delivering, for one delivery at a time
	deliver  func(Update)
	entries  []map[faas.Ref]Entry // by source
	complete []bool               // whose first listing is in
	missing  int                  // how many are not
}

func (w *merging) update(source int, u Update) {
	w.mu.Lock()
	defer w.mu.Unlock()
	touched := make([]faas.Ref, 0, len(u.Removed)+len(u.Changed))
	for _, ref := range u.Removed {
		delete(w.entries[source], ref)
		touched = append(touched, ref)
	}
	for _, e := range u.Changed {
		w.entries[source][e.Ref] = e
		touched = append(touched, e.Ref)
	}
	out := w.view(touched)
	if u.Complete && !w.complete[source] {
		w.complete[source] = true
		w.missing--
		out.Complete = w.missing == 0
	}
	if out.Complete || len(out.Changed)+len(out.Removed) > 0 {
		w.deliver(out)
	}
}

// view returns what refs are now.
func (w *merging) view(refs []faas.Ref) (u Update) {
	seen := make(map[faas.Ref]bool, len(refs))
	for _, ref := range refs {
		if seen[ref] {
			continue
		}
		seen[ref] = true
		if e, ok := w.find(ref); ok {
			u.Changed = append(u.Changed, e)
		} else {
			u.Removed = append(u.Removed, ref)
		}
	}
	return u
}

// find returns the entry that counts, with its conflict if it has one.
func (w *merging) find(ref faas.Ref) (found Entry, ok bool) {
	for _, entries := range w.entries {
		e, has := entries[ref]
		switch {
		case has && !ok:
			found, ok = e, true
		case has && found.Conflict == nil:
			found.Conflict = conflict(ref, e.Origin)
		}
	}
	return found, ok
}

func conflict(ref faas.Ref, hidden Origin) error {
	where := hidden.File
	if where == "" {
		where = "another source"
	}
	return faas.Errorf(faas.KindInvalid,
		"%s is not served: function %q is deployed; rename its folder, or `unifaas delete %s` to have it served", where, ref, ref)
}
