package launch

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/unifaas/unifaas/internal/faas"
	"github.com/unifaas/unifaas/internal/sandbox"
)

// FuzzReadRecord: whatever a power failure has made of a record, it is one to
// act on, with this instance's id and folder, or none.
func FuzzReadRecord(f *testing.F) {
	const id = "node-1"
	rec := sandbox.Record{ID: id, Revision: &faas.Revision{Digest: "sha256:0"}}
	raw, err := json.Marshal(rec)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw)
	f.Add(raw[:len(raw)/2])
	f.Add([]byte("{}"))
	f.Add(make([]byte, 4096))
	rec.ID = "../node-2"
	if raw, err = json.Marshal(rec); err != nil {
		f.Fatal(err)
	}
	f.Add(raw)
	f.Fuzz(func(t *testing.T, raw []byte) {
		dir := filepath.Join(t.TempDir(), id)
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, recordFile), raw, 0o600); err != nil {
			t.Fatal(err)
		}
		rec, whole, err := readRecord(dir)
		if err != nil {
			t.Fatal(err)
		}
		if whole && (rec.ID != id || rec.Dir != dir || rec.Revision == nil) {
			t.Errorf("read %+v", rec)
		}
	})
}
