package catalog

import (
	"slices"
	"time"

	"github.com/unifaas/unifaas/internal/faas"
)

// A Status is what is known of one function.
type Status struct {
	Ref      faas.Ref
	Revision *faas.Revision // what is served; nil when no version has been good yet
	Err      error          // why the newest version is not served; nil when it is
	Loaded   time.Time      // when Revision or Err came about
	Origin   Origin         // of the newest version
	Conflict error          // another function of this name, which is not served
}

// A Snapshot is the catalog at one moment. It is immutable.
type Snapshot struct {
	byName map[string]*Status
	list   []*Status
}

func newSnapshot(functions map[faas.Ref]*function) *Snapshot {
	s := &Snapshot{byName: make(map[string]*Status, len(functions)), list: make([]*Status, 0, len(functions))}
	names := make([]string, 0, len(functions))
	for ref, f := range functions {
		if f.status == nil {
			continue // its first version is still being resolved
		}
		name := ref.String()
		names = append(names, name)
		s.byName[name] = f.status
	}
	slices.Sort(names)
	for _, name := range names {
		s.list = append(s.list, s.byName[name])
	}
	return s
}

// Len is the number of functions, with those that can't be served.
func (s *Snapshot) Len() int { return len(s.list) }

// List returns the status of each function, by name. It must not be changed.
func (s *Snapshot) List() []*Status { return s.list }

// Status returns the status of the function called name, which is "name" in
// the default namespace and "namespace/name" elsewhere.
func (s *Snapshot) Status(name string) (*Status, bool) {
	st, ok := s.byName[name]
	return st, ok
}

// Revisions returns what is served, in the order of the functions' names.
func (s *Snapshot) Revisions() []*faas.Revision {
	revs := make([]*faas.Revision, 0, len(s.list))
	for _, st := range s.list {
		if st.Revision != nil {
			revs = append(revs, st.Revision)
		}
	}
	return revs
}

// Images returns the images of what is served.
func (s *Snapshot) Images() []faas.Image {
	var images []faas.Image
	for _, rev := range s.Revisions() {
		images = append(images, rev.Image)
	}
	return images
}

// Lookup returns the revision to serve for name. The error's kind is
// not-found when there is no such function, and unavailable when there is one
// of which no version has been good; that it names no cause is on purpose:
// whoever invokes a function is not who owns it.
func (s *Snapshot) Lookup(name string) (*faas.Revision, error) {
	st, ok := s.byName[name]
	switch {
	case !ok:
		return nil, faas.Errorf(faas.KindNotFound, "no function %q", name)
	case st.Revision == nil:
		return nil, faas.Errorf(faas.KindUnavailable, "function %q has no version that can be served; its owner sees why with unifaas describe", name)
	}
	return st.Revision, nil
}
