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
	"time"

	"github.com/unifaas/unifaas/internal/faas"
	"github.com/unifaas/unifaas/internal/guest/made"
)

// imageVersion changes with what is written for the same input.
const imageVersion = 1

// makeDisk returns the path of the disk of a root file system, written unless
// it is there: by its content, by that of the kernel that reads it, and by what
// is edited.
func (s *System) makeDisk(ctx context.Context, img faas.Image, prog *program, l *Loader) (string, error) {
	sum := sha256.Sum256(fmt.Append(nil, imageVersion, img.Digest, l.Digest, prog.edits))
	path := filepath.Join(s.images, made.Name(img)+"-"+hex.EncodeToString(sum[:16])+".rofs")
	return path, made.Ensure(path, func(f *os.File) error { return WriteDisk(ctx, f, img.Rootfs, prog.edits) })
}

// keepLoader returns the path of a copy of the loader: instances of a revision
// boot what it was prepared for, whatever becomes of the operator's file.
func (s *System) keepLoader(l *Loader) (string, error) {
	path := filepath.Join(s.kernels, loaderName(l))
	return path, made.Ensure(path, func(f *os.File) error {
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

func loaderName(l *Loader) string {
	const shortened = len("sha256:") + 32
	return l.Digest[len("sha256:"):shortened] + ".elf"
}

// Prune removes images of root file systems that are not of keep, and copies of
// kernels but the present one, which have not been wanted for grace.
func (s *System) Prune(keep []faas.Image, grace time.Duration) error {
	errs := []error{made.Prune(s.images, keep, grace)}
	present := ""
	if l, err := s.loader(); err == nil {
		present = loaderName(l)
	}
	entries, err := os.ReadDir(s.kernels)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		errs = append(errs, err)
	}
	for _, e := range entries {
		info, err := e.Info()
		if err == nil && e.Name() != present && time.Since(info.ModTime()) > grace {
			errs = append(errs, os.Remove(filepath.Join(s.kernels, e.Name())))
		}
	}
	return errors.Join(errs...)
}
