package launch

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/unifaas/unifaas/internal/sandbox"
)

// The folder of an instance, RunDir/instances/ID, holds:
const (
	recordFile = "record.json" // what is known about it
	outputFIFO = "output"      // its standard output and error
	boxDir     = "box"         // whatever its driver puts there
)

// records keeps what must be known after a crash. It lives on the run
// folder, so a write needs to survive this process, not the machine: a
// rename is enough, no fsync.
type records struct {
	dir    string
	bootID string
}

// place says where the instance's folder is.
func (r records) place(rec sandbox.Record) sandbox.Record {
	rec.Dir = filepath.Join(r.dir, rec.ID)
	return rec
}

// create makes the instance's folder and first record. What an error leaves
// of them is the caller's to remove.
func (r records) create(rec sandbox.Record) error {
	if err := os.Mkdir(rec.Dir, 0o700); err != nil {
		return err
	}
	// The record comes first: what has none is removed at the next start.
	if err := r.write(rec); err != nil {
		return err
	}
	return os.Mkdir(filepath.Join(rec.Dir, boxDir), 0o700)
}

func (r records) write(rec sandbox.Record) error {
	raw, err := json.Marshal(rec)
	if err != nil {
		return fmt.Errorf("encode record of %q: %w", rec.ID, err)
	}
	path := filepath.Join(rec.Dir, recordFile)
	if err := os.WriteFile(path+".new", raw, 0o600); err != nil {
		return fmt.Errorf("write record of %q: %w", rec.ID, err)
	}
	return os.Rename(path+".new", path)
}

// read returns the records of a run before this one. A folder without a whole
// record was left by a process that died before it had acquired anything else,
// or by a machine that lost its power; it is removed, and what may carry its
// name is for the drivers' sweep to find. What can't be read stays, and is
// part of the error; the others are returned all the same.
func (r records) read() ([]sandbox.Record, error) {
	entries, err := os.ReadDir(r.dir)
	if err != nil {
		return nil, fmt.Errorf("read records: %w", err)
	}
	var recs []sandbox.Record
	var errs []error
	for _, e := range entries {
		rec, whole, err := readRecord(filepath.Join(r.dir, e.Name()))
		switch {
		case err != nil:
			errs = append(errs, err)
		case whole:
			recs = append(recs, rec)
		default:
			errs = append(errs, os.RemoveAll(filepath.Join(r.dir, e.Name())))
		}
	}
	return recs, errors.Join(errs...)
}

// readRecord reads the record in dir. whole is false when there is none that
// could be acted on.
func readRecord(dir string) (rec sandbox.Record, whole bool, err error) {
	raw, err := os.ReadFile(filepath.Join(dir, recordFile))
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
		return rec, false, nil
	case err != nil:
		return rec, false, fmt.Errorf("read record in %q: %w", dir, err)
	}
	decoded := json.Unmarshal(raw, &rec) == nil // a torn record is no error, but none to act on
	if !decoded || rec.ID != filepath.Base(dir) || rec.Revision == nil {
		return rec, false, nil
	}
	rec.Dir = dir
	return rec, true, nil
}
