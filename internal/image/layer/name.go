package layer

import (
	"path"
	"strings"
)

const (
	maxPath      = 3072 // bytes, leaves room for the store's own path in Linux's 4096
	maxComponent = 255  // bytes, NAME_MAX
	maxTarget    = 4095 // bytes of a symbolic link, PATH_MAX less the NUL

	whiteoutPrefix = ".wh."
	opaqueName     = ".wh..wh..opq"
	// aufsPrefix begins the names of what the file system AUFS kept for itself
	// in old layers.
	aufsPrefix = ".wh..wh."
)

// cleanName turns a name of the archive into an absolute clean path.
func cleanName(name string) (string, error) {
	if strings.HasPrefix(name, "/") {
		return "", invalid("%q is an absolute path", name)
	}
	return cleanPath(name)
}

func cleanPath(name string) (string, error) {
	if len(name) > maxPath {
		return "", invalid("a path of %d bytes is too long: %.80q...", len(name), name)
	}
	for part := range strings.SplitSeq(name, "/") {
		switch {
		case part == "..":
			return "", invalid("%q leads out of the image", name)
		case len(part) > maxComponent:
			return "", invalid("%.80q... is too long for a name", part)
		case strings.ContainsRune(part, 0):
			return "", invalid("%q holds a NUL byte", name)
		}
	}
	return path.Clean("/" + name), nil
}

// A mark is what the name of an entry says beside where it is.
type mark int

const (
	ordinary mark = iota
	whiteout
	opaque
	ignored // AUFS's own
)

// marking finds out about the names that begin with ".wh.". p is clean; what
// it returns is the path concerned.
func marking(p string) (string, mark, error) {
	dir, base := path.Split(p)
	if strings.Contains(dir, "/"+aufsPrefix) {
		return p, ignored, nil
	}
	if strings.Contains(dir, "/"+whiteoutPrefix) {
		return p, ordinary, invalid("%q is below a whiteout", p)
	}
	hidden, ok := strings.CutPrefix(base, whiteoutPrefix)
	switch {
	case !ok:
		return p, ordinary, nil
	case base == opaqueName:
		return path.Clean(dir), opaque, nil
	case strings.HasPrefix(base, aufsPrefix):
		return p, ignored, nil
	case hidden == "" || hidden == "." || hidden == "..":
		return p, ordinary, invalid("%q is a whiteout of nothing", p)
	}
	return dir + hidden, whiteout, nil
}
