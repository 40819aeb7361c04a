package osv

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
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
	const shortened = len("sha256:") + 32
	path := filepath.Join(s.kernels, l.Digest[len("sha256:"):shortened]+".elf")
	return path, made.Ensure(path, func(f *os.File) error {
		_, err := f.Write(l.content)
		return err
	})
}

// Prune removes images that nobody needs, and copies of kernels.
func (s *System) Prune(keep []faas.Image, grace time.Duration) error {
	return errors.Join(made.Prune(s.images, keep, grace), made.PruneShared(s.kernels, grace))
}
