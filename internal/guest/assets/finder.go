package assets

import (
	"errors"
	"fmt"
	"os"
	"sync"

	"github.com/unifaas/unifaas/internal/guest"
)

// A Finder finds the assets of one system. It is for concurrent use.
type Finder struct {
	kind  Kind
	named string // by the operator's settings; "" is not
	store *Store

	mu    sync.Mutex
	found *Set
	fault error // of others
}

// NewFinder returns the finder of a kind. named is the path that the operator's
// settings have, "" is none.
func NewFinder(kind Kind, named string, store *Store) *Finder {
	return &Finder{kind: kind, named: named, store: store}
}

// Kind returns what the finder finds.
func (f *Finder) Kind() Kind { return f.kind }

// ErrNone says that there are no assets of a system.
var ErrNone = errors.New("there are none")

// Find returns the assets that images are made with: those that the settings
// name, else the ones that were added last, else what another tool keeps. The
// error is ErrNone where there is nothing. What the settings name is read again
// only when it has changed.
func (f *Finder) Find() (*Set, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.named != "" && f.found != nil && f.found.unchanged() {
		return f.found, nil
	}
	all, err := f.all()
	if len(all) > 0 {
		f.found, f.fault = all[0], err
		return all[0], nil
	}
	if err == nil {
		err = ErrNone
	}
	return nil, err
}

// Probe tells whether there are any, as [guest.System] asks.
func (f *Finder) Probe() guest.Capabilities {
	set, err := f.Find()
	switch {
	case errors.Is(err, ErrNone):
		return guest.Capabilities{Reason: "there is no kernel of " + f.kind.Title, Remedy: f.kind.Remedy}
	case err != nil:
		return guest.Capabilities{Reason: err.Error(), Remedy: f.kind.Remedy}
	}
	text := f.kind.Title
	if set.Version != "" {
		text += " " + set.Version
	}
	text = fmt.Sprintf("%s (%s, %s)", text, set.Source, set.Origin)
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fault != nil {
		// One that was to be used may be among them.
		text += fmt.Sprintf("; others are left out: %v", f.fault)
	}
	return guest.Capabilities{Works: true, Detail: text}
}

// All returns all assets there are, the one that is used first.
func (f *Finder) All() ([]*Set, error) { return f.all() }

func (f *Finder) all() ([]*Set, error) {
	var all []*Set
	var errs []error
	if f.named != "" {
		set, err := f.kind.Read(f.named, Configured)
		if err != nil {
			// Others in their place would not be what the operator wants.
			return nil, fmt.Errorf("%w; %s names it", err, f.kind.Setting)
		}
		all = append(all, set)
	}
	added, err := f.store.List(f.kind)
	all, errs = append(all, added...), append(errs, err)
	if f.kind.Elsewhere != nil {
		for _, dir := range f.kind.Elsewhere() {
			set, err := f.kind.Read(dir, Foreign)
			switch {
			case err == nil:
				all = append(all, set)
			case !errors.Is(err, os.ErrNotExist):
				errs = append(errs, err)
			}
		}
	}
	return all, errors.Join(errs...)
}
