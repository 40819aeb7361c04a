package deploy

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"sync"

	"github.com/unifaas/unifaas/internal/catalog"
	"github.com/unifaas/unifaas/internal/faas"
)

// incomingFolder holds uploads under way. No function has its name.
const incomingFolder = ".incoming"

// StoreOptions configure a [Store].
type StoreOptions struct {
	Dir       string       // required, absolute: made where it is missing
	Sandboxes []string     // see catalog.DecodeOptions
	Logger    *slog.Logger // default: discard
}

// A Store is what is deployed, on disk. It is a catalog.Source. Its methods
// may be called concurrently; those that change a function are called by one
// at a time for each function (see [Deployer]).
type Store struct {
	opts StoreOptions

	mu        sync.Mutex
	functions map[string]*function
	followers map[*follower]bool
}

// function is what is known of one function. It is replaced, never changed.
type function struct {
	record
	revisions map[int]*revision // those that the record names
	err       error             // why there is none: the record can't be read
}

// revision is a deployment as it was read.
type revision struct {
	Deployment
	dir      string
	function *faas.Function // nil when err is set
	err      error
}

// OpenStore reads what is deployed and removes what deploys left that did not
// come to their end. The folder must be nobody else's.
func OpenStore(opts StoreOptions) (*Store, error) {
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Store{opts: opts, functions: map[string]*function{}, followers: map[*follower]bool{}}
	if err := os.MkdirAll(opts.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("create folder of deployed functions: %w", err)
	}
	if err := os.RemoveAll(s.path(incomingFolder)); err != nil {
		return nil, fmt.Errorf("remove uploads of an earlier run: %w", err)
	}
	entries, err := os.ReadDir(opts.Dir)
	if err != nil {
		return nil, fmt.Errorf("list deployed functions: %w", err)
	}
	for _, e := range entries {
		if !e.IsDir() || !faas.ValidName(e.Name()) {
			continue
		}
		if f := s.load(e.Name()); f != nil {
			s.functions[e.Name()] = f
		}
		if err := s.sweep(e.Name()); err != nil {
			opts.Logger.Warn("cannot remove what an unfinished deploy left", "function", e.Name(), "err", err)
		}
	}
	return s, nil
}

func (s *Store) path(parts ...string) string {
	return filepath.Join(append([]string{s.opts.Dir}, parts...)...)
}

func (s *Store) dir(name string, number int) string { return s.path(name, strconv.Itoa(number)) }

// load reads a function, nil when nothing is recorded of it.
func (s *Store) load(name string) *function {
	f := &function{revisions: map[int]*revision{}}
	switch err := readJSON(s.path(name, recordFile), &f.record); {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		f.err = faas.Errorf(faas.KindInvalid, "what is deployed as %q can't be read; deploy or delete it: %w", name, err)
		return f
	}
	f.revisions[f.Current] = s.read(name, f.Current)
	if f.Previous > 0 {
		f.revisions[f.Previous] = s.read(name, f.Previous)
	}
	return f
}

func (s *Store) read(name string, number int) *revision {
	r := &revision{dir: s.dir(name, number)}
	if r.err = readJSON(filepath.Join(r.dir, deploymentFile), &r.Deployment); r.err == nil {
		r.function, r.err = s.decode(name, r.dir, r.File)
	}
	r.Number = number
	if r.err != nil {
		r.err = faas.Errorf(faas.KindInvalid, "deployment %d of %q can't be used; deploy it again: %w", number, name, r.err)
	}
	return r
}

func (s *Store) decode(name, dir, file string) (*faas.Function, error) {
	text, err := os.ReadFile(filepath.Join(dir, catalog.FileName))
	if err != nil {
		return nil, err
	}
	return decode(text, name, dir, file, s.opts.Sandboxes)
}

// sweep removes the deployments of a function that its record does not name,
// all of them when there is no record. What can't be read stays for whoever
// can.
func (s *Store) sweep(name string) error {
	f := s.get(name)
	if f != nil && f.unreadable() {
		return nil
	}
	found, err := numbers(s.path(name))
	if err != nil {
		return err
	}
	var errs []error
	for _, n := range found {
		if f == nil || n != f.Current && n != f.Previous {
			errs = append(errs, os.RemoveAll(s.dir(name, n)))
		}
	}
	if f == nil {
		errs = append(errs, os.RemoveAll(s.path(name)))
	}
	return errors.Join(errs...)
}

// get returns a function, nil when there is none.
func (s *Store) get(name string) *function {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.functions[name]
}

func (f *function) unreadable() bool { return f.err != nil }

// free returns a number for a deployment that none has, and that none after
// the newest has had.
func (s *Store) free(name string) (int, error) {
	last := 0
	if f := s.get(name); f != nil {
		last = max(f.Current, f.Previous)
	}
	found, err := numbers(s.path(name))
	for _, n := range found {
		last = max(last, n)
	}
	return last + 1, err
}

// switchTo makes deployments current and previous, on disk and then for all
// followers. Revisions that it does not name are forgotten.
func (s *Store) switchTo(name string, current, previous *revision) error {
	f := &function{record: record{Current: current.Number}, revisions: map[int]*revision{current.Number: current}}
	if previous != nil {
		f.Previous, f.revisions[previous.Number] = previous.Number, previous
	}
	if err := writeJSON(s.path(name, recordFile), f.record); err != nil {
		return err
	}
	s.set(name, f)
	return nil
}

// drop forgets a function, on disk and then for all followers. The folders of
// its deployments stay until [Store.sweep].
func (s *Store) drop(name string) error {
	if err := os.Remove(s.path(name, recordFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := syncFolder(s.path(name)); err != nil {
		return err
	}
	s.set(name, nil)
	return nil
}

func (s *Store) set(name string, f *function) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if f == nil {
		delete(s.functions, name)
	} else {
		s.functions[name] = f
	}
	s.noticeLocked(name)
}

// touch has a function delivered to all followers again.
func (s *Store) touch(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.noticeLocked(name)
}

func (s *Store) noticeLocked(name string) {
	for follower := range s.followers {
		follower.notice(name)
	}
}

// Deployed returns the current and the previous deployment of a function; nil
// where there is none.
func (s *Store) Deployed(name string) (current, previous *Deployment) {
	f := s.get(name)
	if f == nil {
		return nil, nil
	}
	return f.deployment(f.Current), f.deployment(f.Previous)
}

func (f *function) deployment(number int) *Deployment {
	if r := f.revisions[number]; r != nil {
		return &r.Deployment
	}
	return nil
}

// current returns the deployment that is served, nil when there is none.
func (s *Store) current(name string) *revision {
	f := s.get(name)
	if f == nil {
		return nil
	}
	return f.revisions[f.Current]
}
