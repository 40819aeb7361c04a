package launch

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

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

// read returns the records of a run before this one. A folder without a
// readable record was made by a process that died before it had acquired
// anything else; it is removed.
func (r records) read() ([]sandbox.Record, error) {
	entries, err := os.ReadDir(r.dir)
	if err != nil {
		return nil, fmt.Errorf("read records: %w", err)
	}
	var recs []sandbox.Record
	for _, e := range entries {
		dir := filepath.Join(r.dir, e.Name())
		raw, err := os.ReadFile(filepath.Join(dir, recordFile))
		var rec sandbox.Record
		if err == nil {
			err = json.Unmarshal(raw, &rec)
		}
		switch {
		case err == nil && rec.ID == e.Name() && rec.Revision != nil:
			rec.Dir = dir
			recs = append(recs, rec)
		case err == nil || errors.Is(err, fs.ErrNotExist):
			if err := os.RemoveAll(dir); err != nil {
				return nil, fmt.Errorf("remove instance folder without record: %w", err)
			}
		default:
			return nil, fmt.Errorf("read record in %q: %w", dir, err)
		}
	}
	return recs, nil
}
