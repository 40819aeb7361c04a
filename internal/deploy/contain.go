package deploy

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/unifaas/unifaas/internal/faas"
)

// contain refuses a bundle from which a symbolic link leads out, where the
// platform would follow it. In the folder that is the image's root (dir:),
// links are part of the image and only the function follows them.
func contain(bundle string, fn *faas.Function) error {
	root, err := os.OpenRoot(bundle)
	if err != nil {
		return err
	}
	defer func() { _ = root.Close() }() // opened for a look only
	for _, reference := range references(fn) {
		rel, err := filepath.Rel(bundle, reference)
		if err != nil {
			return err
		}
		if err := stays(root, rel); err != nil {
			return err
		}
	}
	return filepath.WalkDir(bundle, func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && fn.Image.Scheme == "dir" && name == fn.Image.Location && name != bundle:
			return filepath.SkipDir
		case d.Type() != fs.ModeSymlink || fn.Image.Scheme == "dir" && fn.Image.Location == bundle:
			return nil
		}
		rel, err := filepath.Rel(bundle, name)
		if err != nil {
			return err
		}
		return stays(root, rel)
	})
}

// references are the absolute paths that the platform opens for fn.
func references(fn *faas.Function) []string {
	var paths []string
	if filepath.IsAbs(fn.Image.Location) {
		paths = append(paths, fn.Image.Location)
	}
	for _, outside := range fn.Files {
		paths = append(paths, outside)
	}
	if fn.VM == nil {
		return paths
	}
	if fn.VM.Kernel != "" {
		paths = append(paths, fn.VM.Kernel, fn.VM.Image)
	}
	if config, ok := fn.VM.Hypervisor["cpu-config"].(string); ok {
		paths = append(paths, config)
	}
	return paths
}

// stays follows a path as the kernel would. What is not there leads nowhere.
func stays(root *os.Root, rel string) error {
	_, err := root.Stat(rel)
	switch {
	case err == nil, errors.Is(err, fs.ErrNotExist):
		return nil
	case errors.Is(err, unix.ENOTDIR), errors.Is(err, unix.ENAMETOOLONG):
		return nil // the image's source says what is wrong with it
	case errors.Is(err, unix.ELOOP):
		return faas.Errorf(faas.KindInvalid, "bundle: link %q leads round in circles; put the file itself in its place", rel)
	}
	target, readErr := root.Readlink(rel)
	if readErr != nil && strings.Contains(err.Error(), "escapes") {
		target = "elsewhere" // a folder above it is the link
	} else if readErr != nil {
		return err
	}
	return faas.Errorf(faas.KindInvalid, "bundle: link %q leads out of it (to %s); put the file itself in its place", rel, target)
}
