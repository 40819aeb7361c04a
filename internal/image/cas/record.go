package cas

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/unifaas/unifaas/internal/faas"
)

// RecordPath returns where the record name of a kind is, there or not.
func (s *Store) RecordPath(kind, name string) string { return s.path("records", kind, name) }

// PutRecord keeps text under a kind and a name, both of which must be names of
// files. It replaces an older record in one step and durably.
func (s *Store) PutRecord(ctx context.Context, kind, name string, text []byte) error {
	l, err := s.Hold(ctx) // else another process may empty tmp
	if err != nil {
		return err
	}
	defer l.Close()
	if err := s.putRecord(kind, name, text); err != nil {
		return fmt.Errorf("put record %s/%s: %w", kind, name, full(err, s.dir))
	}
	return nil
}

func (s *Store) putRecord(kind, name string, text []byte) error {
	dir := s.path("records", kind)
	if _, err := os.Lstat(dir); err != nil {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
		for _, parent := range []string{s.path("records"), s.dir} {
			if err := syncPath(parent); err != nil {
				return err
			}
		}
	}
	f, err := os.CreateTemp(s.path("tmp"), "record-")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // fails when it has been renamed
	_, err = f.Write(text)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), filepath.Join(dir, name)); err != nil {
		return err
	}
	return syncPath(dir)
}

// Record returns the record name of a kind. The error's kind is not-found when
// the store does not have it.
func (s *Store) Record(kind, name string) ([]byte, error) {
	text, err := os.ReadFile(s.RecordPath(kind, name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, faas.Errorf(faas.KindNotFound, "store %q has no record %s/%s", s.dir, kind, name)
	}
	if err != nil {
		return nil, fmt.Errorf("read record %s/%s: %w", kind, name, err)
	}
	return text, nil
}

// A RecordInfo tells of one record.
type RecordInfo struct {
	Name string
	Used time.Time // when it was put or marked last
}

// Records lists the records of a kind by name.
func (s *Store) Records(kind string) ([]RecordInfo, error) {
	entries, err := os.ReadDir(s.path("records", kind))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("list records %s: %w", kind, err)
	}
	infos := make([]RecordInfo, 0, len(entries))
	for _, e := range entries {
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("list records %s: %w", kind, err)
		}
		infos = append(infos, RecordInfo{Name: e.Name(), Used: info.ModTime()})
	}
	return infos, nil
}

// MarkRecord notes that a record is in use.
func (s *Store) MarkRecord(kind, name string) {
	now := time.Now()
	// A store on a read-only file system can't be pruned either.
	_ = os.Chtimes(s.RecordPath(kind, name), now, now)
}

// RemoveRecord removes a record, if it is there.
func (s *Store) RemoveRecord(kind, name string) error {
	err := unix.Unlink(s.RecordPath(kind, name))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove record %s/%s: %w", kind, name, err)
	}
	return nil
}

// Trees lists the digests of the trees in the store.
func (s *Store) Trees() ([]string, error) {
	entries, err := os.ReadDir(s.path("trees"))
	if err != nil {
		return nil, fmt.Errorf("list trees: %w", err)
	}
	digests := make([]string, 0, len(entries))
	for _, e := range entries {
		digests = append(digests, e.Name())
	}
	return digests, nil
}
