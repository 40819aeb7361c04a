package assets

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// A Store keeps what was added, each set in a folder of its own. Its methods may
// be called concurrently, and by several processes.
type Store struct{ dir string }

// NewStore returns the store in dir, which is made when it is needed.
func NewStore(dir string) *Store { return &Store{dir: dir} }

// Dir returns the folder of the store below a platform's state.
func Dir(stateDir string) string { return filepath.Join(stateDir, "assets") }

// metaFile holds what a set's files don't tell.
const metaFile = "asset.json"

type meta struct {
	System string    `json:"system"`
	Source string    `json:"source"`
	Added  time.Time `json:"added"`
}

// Add checks the files at path and keeps a copy of them. What is there already
// becomes the newest.
func (s *Store) Add(k Kind, path string) (*Set, error) {
	set, contents, err := k.read(path, Added)
	if err == nil {
		err = s.put(k, set, contents)
	}
	if err != nil {
		return nil, fmt.Errorf("add assets of %s from %q: %w", k.System, path, err)
	}
	return set, nil
}

// temporary begins the name of what is being written, which takes seconds: what
// is older than abandoned was left by a process that was killed.
const (
	temporary = ".new-"
	abandoned = time.Hour
)

func (s *Store) sweep() error {
	entries, err := os.ReadDir(s.dir)
	for _, e := range entries {
		if info, infoErr := e.Info(); infoErr == nil && strings.HasPrefix(e.Name(), temporary) && time.Since(info.ModTime()) > abandoned {
			err = errors.Join(err, os.RemoveAll(filepath.Join(s.dir, e.Name())))
		}
	}
	return err
}

func (s *Store) put(k Kind, set *Set, contents [][]byte) error {
	if err := errors.Join(os.MkdirAll(s.dir, 0o755), s.sweep()); err != nil {
		return err
	}
	dir, err := os.MkdirTemp(s.dir, temporary)
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }() // it has moved, or is of no use
	text, err := json.MarshalIndent(meta{k.System, set.Source, time.Now().UTC()}, "", "\t")
	if err != nil {
		return err
	}
	if err := writeFile(filepath.Join(dir, metaFile), text); err != nil {
		return err
	}
	for i, f := range k.Files {
		if err := writeFile(filepath.Join(dir, f.Name), contents[i]); err != nil {
			return err
		}
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		return err
	}
	to := filepath.Join(s.dir, set.ID())
	set.paths, err = k.paths(dir)
	if err != nil {
		return err
	}
	for name := range set.paths {
		set.paths[name] = filepath.Join(to, name)
	}
	err = os.Rename(dir, to)
	if !errors.Is(err, os.ErrExist) {
		return err
	}
	// The same files are there, or damaged ones: each is replaced at once, so that
	// whoever begins a machine meanwhile finds them.
	for _, f := range append(k.Files[:len(k.Files):len(k.Files)], File{Name: metaFile}) {
		if err := os.Rename(filepath.Join(dir, f.Name), filepath.Join(to, f.Name)); err != nil {
			return err
		}
	}
	return nil
}

// writeFile writes a file whose content is on disk when it returns.
func writeFile(path string, content []byte) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	return errors.Join(err, f.Sync(), f.Close())
}

// List returns the sets of a kind that were added, the newest first. One that is
// damaged is an error beside the others.
func (s *Store) List(k Kind) ([]*Set, error) {
	entries, err := os.ReadDir(s.dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	errs := []error{err}
	type dated struct {
		set   *Set
		added time.Time
	}
	var all []dated
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), k.System+"-") {
			continue
		}
		set, added, err := s.load(k, e.Name())
		if err != nil {
			errs = append(errs, err)
			continue
		}
		all = append(all, dated{set, added})
	}
	slices.SortFunc(all, func(a, b dated) int {
		return cmp.Or(b.added.Compare(a.added), strings.Compare(a.set.Digest, b.set.Digest))
	})
	var sets []*Set
	for _, d := range all {
		sets = append(sets, d.set)
	}
	return sets, errors.Join(errs...)
}

func (s *Store) load(k Kind, name string) (*Set, time.Time, error) {
	dir := filepath.Join(s.dir, name)
	text, err := os.ReadFile(filepath.Join(dir, metaFile))
	if err != nil {
		return nil, time.Time{}, err
	}
	var m meta
	if err := json.Unmarshal(text, &m); err != nil {
		return nil, time.Time{}, fmt.Errorf("read assets %q: %w", name, err)
	}
	set, err := k.Read(dir, Added)
	if err != nil {
		return nil, time.Time{}, err
	}
	if set.ID() != name {
		return nil, time.Time{}, fmt.Errorf("assets %q are not what was added: their files have changed; remove them and add them anew", name)
	}
	set.Source = m.Source
	return set, m.Added, nil
}

// Remove removes the set with this ID, or the only one of a system of this name.
// Machines that have begun with it go on.
func (s *Store) Remove(name string) error {
	entries, err := os.ReadDir(s.dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	var which []string
	for _, e := range entries {
		if system, _, ok := strings.Cut(e.Name(), "-"); ok && system != "." && (e.Name() == name || system == name) {
			which = append(which, e.Name())
		}
	}
	switch len(which) {
	case 0:
		return fmt.Errorf("there are no assets %q; unifaas assets list names those that were added", name)
	case 1:
		return os.RemoveAll(filepath.Join(s.dir, which[0]))
	default:
		return fmt.Errorf("there are several assets of %q: name one of %s", name, strings.Join(which, ", "))
	}
}
