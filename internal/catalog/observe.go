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
	dir string // real path of the function's folder
	sum string // SHA-256 of the file
	fn  *faas.Function
	err error
}

// An observation is what one function's files looked like at one moment.
type observation struct {
	fingerprint string    // changes when one of them does; gone when there is no function
	newest      time.Time // when the last of them was changed
	decoded     decoded
	dirs        []string // to watch
}

// observe looks at the function called name. last is reused when the
// function.toml has the same content.
func (f *Folder) observe(name string, last decoded, prints *fingerprints) observation {
	dir, err := filepath.EvalSymlinks(filepath.Join(f.real, name))
	if err != nil {
		return observation{fingerprint: gone}
	}
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		return observation{fingerprint: gone}
	}
	file := filepath.Join(dir, FileName)
	if _, err := os.Stat(file); os.IsNotExist(err) {
		return observation{fingerprint: gone, dirs: []string{dir}}
	}
	data, err := readFile(file)
	sum := sha256.Sum256(data)
	d := decoded{dir: dir, sum: hex.EncodeToString(sum[:])}
	switch {
	case err != nil:
		d.err = faas.Errorf(faas.KindInvalid, "%w", err)
		d.sum = err.Error()
	case d.dir == last.dir && d.sum == last.sum:
		d = last
	default:
		d.fn, d.err = Decode(data, DecodeOptions{
			Ref: faas.NewRef(name), File: filepath.Join(f.opts.Dir, name, FileName), Dir: dir, Sandboxes: f.opts.Sandboxes,
		})
	}
	p := newPrint()
	p.add(d.dir, d.sum)
	p.merge(prints.file(file))
	if d.fn != nil {
		for _, input := range f.opts.Inputs(d.fn) {
			p.merge(prints.path(input))
		}
	}
	return observation{fingerprint: p.sum(), newest: p.newest, decoded: d, dirs: append(p.dirs, dir)}
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
