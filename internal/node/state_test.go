package node

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/unifaas/unifaas/internal/faas"
)

func TestStateIsExclusiveAndKeepsItsID(t *testing.T) {
	t.Parallel() // it waits for the patience of a lock to end
	stateDir, runDir := filepath.Join(t.TempDir(), "state"), filepath.Join(t.TempDir(), "run")
	first, err := openState(stateDir, runDir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := openState(stateDir, filepath.Join(t.TempDir(), "other")); faas.KindOf(err) != faas.KindInvalid ||
		!strings.Contains(err.Error(), "in use") {
		t.Errorf("a second platform on the same state folder: %v", err)
	}
	first.close()
	second, err := openState(stateDir, runDir)
	if err != nil {
		t.Fatal(err)
	}
	defer second.close()
	if second.node != first.node || len(first.node) != 6 {
		t.Errorf("node id was %q, is now %q", first.node, second.node)
	}
}

func TestStateRefusesWhatItMustNotTrust(t *testing.T) {
	for _, c := range []struct {
		name, want string
		spoil      func(t *testing.T, dir string)
	}{
		{"a later schema", "version", func(t *testing.T, dir string) {
			write(t, filepath.Join(dir, "schema"), "99\n")
		}},
		{"a broken node id", "node id", func(t *testing.T, dir string) {
			write(t, filepath.Join(dir, "node-id"), "../../etc\n")
		}},
		{"a folder others can write to", "written by others", func(t *testing.T, dir string) {
			if err := os.Chmod(dir, 0o777); err != nil {
				t.Fatal(err)
			}
		}},
		{"a lock that is a link", "lock", func(t *testing.T, dir string) {
			if err := os.Symlink("/dev/null", filepath.Join(dir, "lock")); err != nil {
				t.Fatal(err)
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			c.spoil(t, dir)
			s, err := openState(dir, filepath.Join(t.TempDir(), "run"))
			if err == nil {
				s.close()
				t.Fatal("accepted")
			}
			if !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %q does not say %q", err, c.want)
			}
		})
	}
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}
