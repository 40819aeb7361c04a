package gvisor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/unifaas/unifaas/internal/erofs"
	"github.com/unifaas/unifaas/internal/faas"
	"github.com/unifaas/unifaas/internal/oci"
)

// An imageStore keeps one EROFS image per root file system, named by its
// content's digest. A file that has its final name is complete.
type imageStore struct{ dir string }

// temporary is the pattern of names of images that are not complete.
const temporary = ".image-*"

func (s imageStore) path(digest string) string {
	return filepath.Join(s.dir, strings.ReplaceAll(digest, ":", "-")+".erofs")
}

// ensure returns the path of img's image and writes it first if need be. Two
// callers that write the same one at once both succeed.
func (s imageStore) ensure(ctx context.Context, img faas.Image) (string, error) {
	path := s.path(img.Digest)
	// Its time says when it was last wanted; see prune.
	if err := os.Chtimes(path, time.Time{}, time.Now()); err == nil {
		return path, nil
	}
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return "", err
	}
	f, err := os.CreateTemp(s.dir, temporary)
	if err != nil {
		return "", err
	}
	err = erofs.Write(ctx, f, img.Rootfs, erofs.Options{
		Owner0:      os.Geteuid() != 0,
		Directories: oci.MountPoints(),
	})
	// Synced before the name: a crash of the machine must not leave a name
	// with half a file behind it.
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return "", errors.Join(fmt.Errorf("write image of %q: %w", img.Rootfs, err), os.Remove(f.Name()))
	}
	return path, nil
}

// prune removes images that are not of keep and have not been wanted for
// grace. Instances that run hold theirs open.
func (s imageStore) prune(keep []faas.Image, grace time.Duration) error {
	kept := make(map[string]bool, len(keep))
	for _, img := range keep {
		kept[s.path(img.Digest)] = true
	}
	all, err := filepath.Glob(filepath.Join(s.dir, "*.erofs"))
	for _, path := range all {
		info, statErr := os.Stat(path)
		if statErr == nil && !kept[path] && time.Since(info.ModTime()) > grace {
			err = errors.Join(err, os.Remove(path))
		}
	}
	return err
}
