package made

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/unifaas/unifaas/internal/faas"
)

// Name begins the name of each file that is made of a root file system.
func Name(img faas.Image) string {
	sum := sha256.Sum256([]byte(img.Digest))
	return hex.EncodeToString(sum[:16])
}

// Prune removes the files in dir that are of no image of keep and have not been
// wanted for grace: a revision that is being loaded is in nobody's list yet.
// Machines that run hold theirs open.
func Prune(dir string, keep []faas.Image, grace time.Duration) error {
	kept := map[string]bool{}
	for _, img := range keep {
		kept[Name(img)] = true
	}
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	errs := []error{err}
	for _, e := range entries {
		name, _, _ := strings.Cut(e.Name(), ".")
		name, _, _ = strings.Cut(name, "-")
		info, err := e.Info()
		if err == nil && !kept[name] && time.Since(info.ModTime()) > grace {
			errs = append(errs, os.Remove(filepath.Join(dir, e.Name())))
		}
	}
	return errors.Join(errs...)
}
