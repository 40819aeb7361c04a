package deploy

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/unifaas/unifaas/internal/catalog"
	"github.com/unifaas/unifaas/internal/faas"
)

// Names in the folder of a function and of a deployment.
const (
	recordFile     = "record.json"
	deploymentFile = "deployment.json"
	bundleFolder   = "bundle"
)

// A Deployment is one thing that was deployed as a function. It is immutable.
type Deployment struct {
	Number   int        `json:"number"` // counts the function's deployments, from 1
	Deployed time.Time  `json:"deployed"`
	Source   string     `json:"source"` // what was deployed, as its owner named it
	File     string     `json:"file"`   // its function.toml, as its owner knows it
	Revision string     `json:"revision"`
	Digest   string     `json:"digest"` // of the revision
	Image    faas.Image `json:"image"`
}

// record says what of a function counts.
type record struct {
	Current  int `json:"current"`
	Previous int `json:"previous,omitempty"` // 0: there is none
}

func readJSON(path string, v any) error {
	raw, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(raw, v); err != nil {
		return fmt.Errorf("decode %q: %w", path, err)
	}
	return nil
}

func writeJSON(path string, v any) error {
	raw, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return fmt.Errorf("encode %q: %w", path, err)
	}
	return writeFile(path, append(raw, '\n'))
}

// writeFile replaces a file durably and in one step.
func writeFile(path string, content []byte) error {
	file, err := os.OpenFile(path+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = file.Write(content)
	if err = errors.Join(err, file.Sync(), file.Close()); err != nil {
		return fmt.Errorf("write %q: %w", path, errors.Join(err, os.Remove(path+".new")))
	}
	if err := os.Rename(path+".new", path); err != nil {
		return err
	}
	return syncFolder(filepath.Dir(path))
}

func syncFolder(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// syncFileSystem has everything below path on disk, in one call rather than
// one for each file of a bundle.
func syncFileSystem(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(unix.Syncfs(int(dir.Fd())), dir.Close())
}

// numbers lists the deployments that have a folder in a function's.
func numbers(dir string) ([]int, error) {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var found []int
	for _, e := range entries {
		if n, err := strconv.Atoi(e.Name()); err == nil && n > 0 {
			found = append(found, n)
		}
	}
	return found, nil
}

// decode reads the function.toml of a deployment in dir.
func decode(text []byte, name, dir, file string, sandboxes []string) (*faas.Function, error) {
	return catalog.Decode(text, catalog.DecodeOptions{
		Ref: faas.NewRef(name), File: file, Dir: filepath.Join(dir, bundleFolder), Sandboxes: sandboxes, Contained: true,
	})
}
