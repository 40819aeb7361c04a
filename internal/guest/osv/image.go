package osv

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/unifaas/unifaas/internal/faas"
)

// imageVersion changes with what is written for the same input.
const imageVersion = 1

// The endings of files in the folder of images.
const (
	diskEnd   = ".rofs"
	loaderEnd = ".elf"
	temporary = ".new-"
)

// hexLength is how much of a digest is in a file's name.
const hexLength = 32

func hexOf(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])[:hexLength]
}

// diskName names the disk of a root file system, by its content, by that of the
// kernel that reads it, and by what is edited. It begins with rootName.
func diskName(img faas.Image, p *program, l *Loader) string {
	return rootName(img) + "-" + hexOf(fmt.Sprint(imageVersion, img.Digest, l.Digest, p.edits)) + diskEnd
}

func rootName(img faas.Image) string { return hexOf(img.Digest) }

// makeDisk returns the path of the disk of a root file system, written unless
// it is there.
func (s *System) makeDisk(ctx context.Context, img faas.Image, prog *program, l *Loader) (string, error) {
	p := filepath.Join(s.images, diskName(img, prog, l))
	return p, ensure(p, func(f *os.File) error { return WriteDisk(ctx, f, img.Rootfs, prog.edits) })
}

// keepLoader returns the path of a copy of the loader: instances of a revision
// boot what it was prepared for, whatever becomes of the operator's file.
func (s *System) keepLoader(l *Loader) (string, error) {
	p := filepath.Join(s.images, strings.TrimPrefix(l.Digest, "sha256:")[:hexLength]+loaderEnd)
	return p, ensure(p, func(f *os.File) error {
		from, err := os.Open(l.Path)
		if err != nil {
			return err
		}
		defer from.Close()
		sum := sha256.New()
		if _, err := io.Copy(io.MultiWriter(f, sum), from); err != nil {
			return err
		}
		if l.Digest != "sha256:"+hex.EncodeToString(sum.Sum(nil)) {
			return faas.Errorf(faas.KindUnavailable, "OSv kernel %q is being changed", l.Path)
		}
		return nil
	})
}

// ensure writes a file unless it is there. It has its name only when it is
// whole and on disk. Of several who write it at once the last wins; they write
// the same.
func ensure(path string, write func(*os.File) error) (err error) {
	// Its time says when it was last wanted; see Prune.
	if err := os.Chtimes(path, time.Time{}, time.Now()); err == nil {
		return nil
	}
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, temporary+"*")
	if err != nil {
		return err
	}
	defer func() {
		if err = errors.Join(err, f.Close()); err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	if err := write(f); err != nil {
		return err
	}
	// Monitors run as users of their own.
	if err := errors.Join(f.Chmod(0o444), f.Sync()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

// Prune removes the files that are of no image of keep and have not been wanted
// for grace: a revision that is being loaded is in nobody's list yet. Machines
// that run hold theirs open.
func (s *System) Prune(keep []faas.Image, grace time.Duration) error {
	kept := map[string]bool{}
	for _, img := range keep {
		kept[rootName(img)] = true
	}
	if l, err := s.loader.get(); err == nil {
		kept[strings.TrimPrefix(l.Digest, "sha256:")[:hexLength]] = true
	}
	entries, err := os.ReadDir(s.images)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	errs := []error{err}
	for _, e := range entries {
		name, _, _ := strings.Cut(strings.TrimSuffix(e.Name(), loaderEnd), "-")
		info, err := e.Info()
		if err == nil && !kept[name] && time.Since(info.ModTime()) > grace {
			errs = append(errs, os.Remove(filepath.Join(s.images, e.Name())))
		}
	}
	return errors.Join(errs...)
}
