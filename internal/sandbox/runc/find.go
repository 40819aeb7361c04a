package runc

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// systemDirs are where packages put runtimes, also where the platform's own
// PATH, say a service's, lacks them.
const systemDirs = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// errNotFound says that there is no executable of a runtime's name.
var errNotFound = errors.New("not found")

// findExecutable returns the path of a runtime: an absolute path as it is, a
// plain name from the folders of path and then from [systemDirs].
func findExecutable(name, path string) (string, error) {
	if filepath.IsAbs(name) {
		return name, executable(name)
	}
	if name == "" || strings.ContainsRune(name, '/') {
		return "", fmt.Errorf("%q is neither a plain name nor an absolute path", name)
	}
	for _, dir := range filepath.SplitList(path + ":" + systemDirs) {
		file := filepath.Join(dir, name)
		if filepath.IsAbs(dir) && executable(file) == nil {
			return file, nil
		}
	}
	return "", fmt.Errorf("%w in PATH", errNotFound)
}

func executable(file string) error {
	info, err := os.Stat(file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%q: %w", file, errNotFound)
	case err != nil:
		return err
	case !info.Mode().IsRegular() || info.Mode()&0o111 == 0:
		return fmt.Errorf("%q is not an executable file", file)
	default:
		return nil
	}
}
