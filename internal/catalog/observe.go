package catalog

import (
	"crypto/sha256"
	"encoding/hex"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/unifaas/unifaas/internal/faas"
)

// FileName is the name of the file that makes a folder a function.
const FileName = "function.toml"

// decoded is the outcome of decoding a file with a certain content.
type decoded struct {
	dir  string // real path of the function's folder
	stat string // the file's metadata, "" when the content may change without it
	sum  string // SHA-256 of the file
	fn   *faas.Function
	err  error
}

// An observation is what one function's files looked like at one moment.
type observation struct {
	fingerprint string // changes when one of them does; gone when there is no function
	decoded     decoded
	dirs        []string // to watch
}

// observe looks at the function called name. last is what an earlier look
// made of its function.toml, and is kept when that is the same.
func (f *Folder) observe(name string, last decoded, prints *fingerprints) observation {
	dir, ok := realDir(filepath.Join(f.real, name))
	if !ok {
		return observation{fingerprint: gone}
	}
	file := filepath.Join(dir, FileName)
	own := takeFile(file)
	if own.missing {
		return observation{fingerprint: gone, dirs: append(own.dirs, dir)}
	}
	if !faas.ValidName(name) {
		return observation{fingerprint: "misnamed", decoded: decoded{err: misnamed(name)}, dirs: append(own.dirs, dir)}
	}
	d := f.decode(name, dir, file, own, last)
	p := newFingerprint()
	p.add(d.dir, d.sum)
	p.merge(own)
	if d.fn != nil {
		for _, input := range f.opts.Inputs(d.fn) {
			p.merge(prints.path(input))
		}
	}
	return observation{fingerprint: p.sum(), decoded: d, dirs: append(p.dirs, dir)}
}

func misnamed(name string) error {
	return faas.Errorf(faas.KindInvalid, "folder name %q is no function name; rename it to 1 to 63 letters, digits, dots, "+
		"underscores and hyphens that begin and end with a letter or a digit", name)
}

// fileTick is more than the granularity of a file system's times: what was
// changed within it may change again and look the same.
const fileTick = 50 * time.Millisecond

func (f *Folder) decode(name, dir, file string, own *fingerprint, last decoded) decoded {
	stat := own.sum()
	if last.dir == dir && last.stat == stat {
		return last
	}
	if age := time.Since(own.newest); age < fileTick {
		stat = ""
	}
	data, err := readFile(file)
	if err != nil {
		return decoded{dir: dir, sum: err.Error(), err: faas.Errorf(faas.KindInvalid, "%w", err)}
	}
	sum := sha256.Sum256(data)
	d := decoded{dir: dir, stat: stat, sum: hex.EncodeToString(sum[:])}
	if d.dir == last.dir && d.sum == last.sum {
		d.fn, d.err = last.fn, last.err
		return d
	}
	d.fn, d.err = Decode(data, DecodeOptions{
		Ref: faas.NewRef(name), File: filepath.Join(f.opts.Dir, name, FileName), Dir: dir, Sandboxes: f.opts.Sandboxes,
	})
	return d
}

// realDir returns the real path of a folder in a folder whose path is real.
func realDir(path string) (string, bool) {
	info, err := os.Lstat(path)
	if err == nil && info.Mode()&os.ModeSymlink != 0 {
		if path, err = filepath.EvalSymlinks(path); err == nil {
			info, err = os.Lstat(path)
		}
	}
	return path, err == nil && info.IsDir()
}

// readFile reads a function.toml, one byte over the limit at most.
func readFile(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, MaxFileSize+1))
}

// rootGone reports whether the folder of all functions is not there.
func (s *scanner) rootGone() bool {
	_, err := os.Stat(s.folder.real)
	return err != nil
}
