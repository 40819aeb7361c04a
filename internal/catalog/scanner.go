package catalog

import (
	"context"
	"path/filepath"
	"runtime"
	"sync"
	"time"

	"github.com/fsnotify/fsnotify"

	"github.com/unifaas/unifaas/internal/faas"
)

// An item is what the scanner knows of one folder that may be a function.
type item struct {
	name      string
	delivered string // fingerprint of what was delivered last, "" for nothing
	decoded   decoded

	// A version that has not come to rest yet:
	unrest  bool
	seen    string    // its fingerprint at the last look; gone when there is none
	since   time.Time // since when it looks like that
	restive time.Time // since when there was no rest

	due time.Time // time of the next look, zero for none
}

const gone = "gone"

// A scanner runs one Watch of a Folder. One goroutine owns it.
type scanner struct {
	folder   *Folder
	opts     *FolderOptions
	deliver  func(Update)
	items    map[string]*item
	watches  *watches
	complete bool
	rescan   time.Time
	lost     bool // the folder itself could not be read
}

func newScanner(f *Folder, deliver func(Update)) *scanner {
	return &scanner{
		folder: f, opts: &f.opts, deliver: deliver,
		items: map[string]*item{}, watches: newWatches(f.real, !f.opts.NoNotify, f.opts.Logger),
	}
}

func (s *scanner) run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case e, ok := <-s.watches.events():
			if ok {
				s.event(e)
			} else {
				s.watches.lose()
			}
		case <-s.watches.errors(): //nolint:errcheck // whatever it is, the answer is to look again
			s.rescan = time.Now() // events were lost
		case <-timer.C:
		}
		s.step(ctx)
		timer.Reset(time.Until(s.next()))
	}
}

// event marks what an event concerns. The wait before the look is for more of
// the same: an editor and a copy make many.
func (s *scanner) event(e fsnotify.Event) {
	due := time.Now().Add(s.opts.Settle)
	if name, ok := s.watches.inRoot(e.Name); ok && candidate(name) {
		s.item(name).lookAt(due)
	}
	for _, name := range s.watches.concerned(e) {
		s.item(name).lookAt(due)
	}
}

func (s *scanner) item(name string) *item {
	it, ok := s.items[name]
	if !ok {
		it = &item{name: name}
		s.items[name] = it
	}
	return it
}

// lookAt makes the next look happen at t unless it is due earlier.
func (it *item) lookAt(t time.Time) {
	if it.due.IsZero() || t.Before(it.due) {
		it.due = t
	}
}

// step looks at what is due and delivers what has come to rest.
func (s *scanner) step(ctx context.Context) {
	now := time.Now()
	if !now.Before(s.rescan) {
		s.list(now)
	}
	var due []*item
	for _, it := range s.items {
		if !it.due.IsZero() && !now.Before(it.due) {
			it.due = time.Time{}
			due = append(due, it)
		}
	}
	observations := s.observeAll(ctx, due)
	if ctx.Err() != nil {
		return
	}
	var u Update
	for i, it := range due {
		s.settle(it, observations[i], &u)
	}
	if !s.complete && s.atRest() {
		s.complete, u.Complete = true, true
	}
	if u.Complete || len(u.Changed)+len(u.Removed) > 0 {
		s.deliver(u)
	}
}

// list marks everything there is, or was, for a look.
func (s *scanner) list(now time.Time) {
	s.rescan = now.Add(s.opts.Rescan)
	if s.watches.degraded {
		s.rescan = now.Add(s.opts.Poll)
	}
	s.watches.renew()
	names, err := s.folder.names()
	if err != nil {
		if !s.lost {
			s.opts.Logger.Warn("functions folder can't be read; its functions stay as they are", "dir", s.opts.Dir, "err", err)
		}
		s.lost = true
		return
	}
	s.lost = false
	for _, name := range names {
		s.item(name)
	}
	for _, it := range s.items {
		it.lookAt(now)
	}
}

func (s *scanner) atRest() bool {
	for _, it := range s.items {
		if it.unrest || !it.due.IsZero() && it.delivered == "" {
			return false
		}
	}
	return !s.lost
}

func (s *scanner) next() time.Time {
	next := s.rescan
	for _, it := range s.items {
		if !it.due.IsZero() && it.due.Before(next) {
			next = it.due
		}
	}
	return next
}

func (s *scanner) observeAll(ctx context.Context, due []*item) []observation {
	observations := make([]observation, len(due))
	prints := newFingerprints()
	work := make(chan int)
	var wg sync.WaitGroup
	for range min(len(due), 2*runtime.GOMAXPROCS(0)) {
		wg.Go(func() {
			for i := range work {
				observations[i] = s.folder.observe(due[i].name, due[i].decoded, prints)
			}
		})
	}
	for i := range due {
		if ctx.Err() != nil {
			break
		}
		work <- i
	}
	close(work)
	wg.Wait()
	return observations
}

// settle decides what an observation of it means.
func (s *scanner) settle(it *item, o observation, u *Update) {
	now := time.Now()
	if o.fingerprint == gone && s.rootGone() {
		return
	}
	it.decoded = o.decoded
	if s.watches.set(it.name, o.dirs) {
		it.lookAt(now) // it may have changed before it was watched
	}
	if o.fingerprint == it.delivered || o.fingerprint == gone && it.delivered == "" {
		it.unrest = false
		if o.fingerprint == gone && o.dirs == nil {
			delete(s.items, it.name)
		}
		return
	}
	if !s.rested(it, o, now) {
		it.lookAt(it.since.Add(s.opts.Settle))
		return
	}
	it.unrest = false
	ref := faas.NewRef(it.name)
	if o.fingerprint == gone {
		it.delivered = ""
		u.Removed = append(u.Removed, ref)
		return
	}
	it.delivered = o.fingerprint
	u.Changed = append(u.Changed, Entry{
		Ref: ref, Function: o.decoded.fn, Err: o.decoded.err,
		Origin: Origin{Kind: OriginFolder, File: filepath.Join(s.opts.Dir, it.name, FileName)},
	})
}

// rested reports whether what was observed has come to rest: it looked the same
// a while ago, or there is no more patience. The files' own times say nothing:
// a clock that was set forward while a file is being copied makes it look old.
func (s *scanner) rested(it *item, o observation, now time.Time) bool {
	if !it.unrest {
		it.unrest, it.seen, it.since, it.restive = true, o.fingerprint, now, now
		return false
	}
	if it.seen != o.fingerprint {
		it.seen, it.since = o.fingerprint, now
		return o.fingerprint != gone && now.Sub(it.restive) >= s.opts.SettleMax
	}
	return now.Sub(it.since) >= s.opts.Settle
}
