package closure

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/unifaas/unifaas/internal/faas"
)

// Debian's Node keeps some of its built-in JavaScript in files of other
// packages and reads them when it starts; their paths are compiled in
// (configure's --shared-builtin-*-path). Without them it aborts.
const externalRoot = "/usr/share/nodejs/"

func (f *Finder) addExternal(c *Closure, objects []*loaded) error {
	for _, l := range objects {
		base := filepath.Base(l.path)
		if base != "node" && base != "nodejs" && !strings.HasPrefix(base, "libnode.so") {
			continue
		}
		paths, err := scanPaths(l.path, f.external)
		if err != nil {
			return faas.Errorf(faas.KindInvalid, "read %q: %w", l.path, err)
		}
		for _, p := range paths {
			if info, err := os.Stat(p); err == nil && info.Mode().IsRegular() {
				c.Files = append(c.Files, p)
			}
		}
	}
	return nil
}

const (
	scanChunk   = 1 << 20
	maxScanPath = 512
)

// scanPaths returns the NUL-terminated strings in a file that begin with
// prefix and are clean paths.
func scanPaths(file, prefix string) ([]string, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var found []string
	buf := make([]byte, 0, scanChunk+maxScanPath)
	for {
		n, err := io.ReadFull(f, buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		last := err != nil
		rest := buf
		for {
			i := bytes.Index(rest, []byte(prefix))
			if i < 0 || !last && len(rest)-i < maxScanPath {
				break
			}
			rest = rest[i:]
			if end := bytes.IndexByte(rest[:min(len(rest), maxScanPath)], 0); end > 0 {
				if p := string(rest[:end]); filepath.Clean(p) == p {
					found = append(found, p)
				}
			}
			rest = rest[len(prefix):]
		}
		if last {
			if err == io.EOF || err == io.ErrUnexpectedEOF {
				err = nil
			}
			return found, err
		}
		// What may be the beginning of a string stays for the next round.
		tail := min(len(rest), maxScanPath)
		buf = append(buf[:0], rest[len(rest)-tail:]...)
	}
}
