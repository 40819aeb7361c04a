package runc

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/unifaas/unifaas/internal/faas"
	"github.com/unifaas/unifaas/internal/oci"
)

// checkFolders refuses an image that lacks a folder which the specification
// needs. Runtimes would make it, and not in the instance: in the root file
// system that all instances of all functions with this image share.
func checkFolders(rev *faas.Revision, spec *specs.Spec) error {
	root, err := os.OpenRoot(rev.Image.Rootfs)
	if err != nil {
		return faas.Errorf(faas.KindInternal, "open the root file system of function %q: %w", rev.Function.Ref, err)
	}
	defer func() { _ = root.Close() }()
	for _, point := range oci.MountPoints() {
		// Not behind a link: the runtime would follow it and make its target.
		if info, err := root.Lstat("." + point); err != nil || !info.IsDir() {
			return faas.Errorf(faas.KindInvalid, "function %q: %s is not a folder in its image, so that nothing can be mounted there", rev.Function.Ref, point)
		}
	}
	dir := path.Clean("/" + spec.Process.Cwd)
	if isMounted(spec, dir) {
		return nil
	}
	// Another error is an absolute link, which is right inside and which only
	// the runtime can follow.
	if _, err := root.Stat("." + dir); errors.Is(err, fs.ErrNotExist) {
		return faas.Errorf(faas.KindInvalid, "function %q: its working folder %q is not in the image", rev.Function.Ref, dir)
	}
	return nil
}

// isMounted reports whether dir is in a file system of the instance's own.
func isMounted(spec *specs.Spec, dir string) bool {
	for _, m := range spec.Mounts {
		if dir == m.Destination || strings.HasPrefix(dir, m.Destination+"/") {
			return true
		}
	}
	return false
}
