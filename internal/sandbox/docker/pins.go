package docker

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/unifaas/unifaas/internal/faas"
)

// A pin says which image a revision runs, whatever its reference comes to
// name later.
type pin struct {
	ID      string   `json:"id"`      // Docker's
	Digests []string `json:"digests"` // references by which a registry knows it
	Image   string   `json:"image"`   // the revision's Image.Digest
}

// pins keeps pins in a folder, one file for each revision.
type pins struct{ dir string }

func (p pins) path(rev *faas.Revision) string { return filepath.Join(p.dir, tag(rev.Digest)+".json") }

// get returns rev's pin, or nil. One that can't be understood counts as none.
func (p pins) get(rev *faas.Revision) (*pin, error) {
	text, err := os.ReadFile(p.path(rev))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, fmt.Errorf("read pinned image: %w", err)
	}
	var found pin
	if understood := json.Unmarshal(text, &found) == nil && found.ID != ""; !understood {
		return nil, nil
	}
	return &found, nil
}

func (p pins) set(rev *faas.Revision, to pin) error {
	text, err := json.Marshal(to)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(p.dir, 0o700); err != nil {
		return err
	}
	path := p.path(rev)
	if err := os.WriteFile(path+".new", text, 0o600); err != nil {
		return fmt.Errorf("pin image: %w", err)
	}
	return os.Rename(path+".new", path)
}

// prune removes the pins of images that are not among keep, once they are
// older than grace.
func (p pins) prune(keep []faas.Image, grace time.Duration) error {
	kept := map[string]bool{}
	for _, img := range keep {
		kept[img.Digest] = true
	}
	entries, err := os.ReadDir(p.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	var errs []error
	for _, e := range entries {
		path := filepath.Join(p.dir, e.Name())
		info, err := e.Info()
		if err != nil || time.Since(info.ModTime()) < grace {
			continue
		}
		var found pin
		text, err := os.ReadFile(path)
		known := err == nil && strings.HasSuffix(path, ".json") && json.Unmarshal(text, &found) == nil && kept[found.Image]
		if !known {
			errs = append(errs, os.Remove(path))
		}
	}
	return errors.Join(errs...)
}
