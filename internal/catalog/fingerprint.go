package catalog

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

// A fingerprint is one of a path, being taken, from metadata only.
type fingerprint struct {
	h       hash.Hash
	newest  time.Time
	dirs    []string // folders in which a change would show, besides the path's own
	missing bool     // there is nothing at the path
}

func newFingerprint() *fingerprint { return &fingerprint{h: sha256.New()} }

func (p *fingerprint) add(parts ...any) { fmt.Fprintf(p.h, "%#v\n", parts) }

func (p *fingerprint) sum() string { return hex.EncodeToString(p.h.Sum(nil)) }

func (p *fingerprint) merge(q *fingerprint) {
	p.add(q.sum())
	p.see(q.newest)
	p.dirs = append(p.dirs, q.dirs...)
}

func (p *fingerprint) see(t time.Time) {
	if t.After(p.newest) {
		p.newest = t
	}
}

// stat adds the metadata of a file or a folder.
func (p *fingerprint) stat(name string, info os.FileInfo) {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		p.add(name, info.Mode(), info.Size(), info.ModTime())
		return
	}
	p.add(name, st.Dev, st.Ino, st.Mode, st.Uid, st.Gid, st.Size, st.Mtim, st.Ctim)
	p.see(time.Unix(st.Ctim.Unix()))
}

// fingerprints takes each path's print once for all functions that share it.
type fingerprints struct {
	mu    sync.Mutex
	taken map[string]func() *fingerprint
}

func newFingerprints() *fingerprints { return &fingerprints{taken: map[string]func() *fingerprint{}} }

// path returns the print of a file, of a folder with all that is below it, or
// of nothing.
func (f *fingerprints) path(name string) *fingerprint {
	f.mu.Lock()
	take, ok := f.taken[name]
	if !ok {
		take = sync.OnceValue(func() *fingerprint { return takePath(name) })
		f.taken[name] = take
	}
	f.mu.Unlock()
	return take()
}

// takePath takes the print of a path whose folder is watched, too.
func takePath(name string) *fingerprint {
	p := takeFile(name)
	p.dirs = append(p.dirs, ancestor(name))
	return p
}

// takeFile takes the print of a path, without its folder.
func takeFile(name string) *fingerprint {
	p := newFingerprint()
	info, err := os.Lstat(name)
	if err == nil && info.Mode()&os.ModeSymlink != 0 {
		p.stat(name, info)
		if name, err = filepath.EvalSymlinks(name); err == nil {
			p.dirs = append(p.dirs, filepath.Dir(name))
			info, err = os.Lstat(name)
		}
	}
	if err != nil {
		p.add(name, "missing")
		p.missing = errors.Is(err, fs.ErrNotExist)
		return p
	}
	p.stat(name, info)
	if info.IsDir() {
		takeTree(p, name)
	}
	return p
}

// maxTreeWatches bounds the folders that are watched for one tree. Deeper
// changes in larger trees show at the next rescan.
const maxTreeWatches = 512

func takeTree(p *fingerprint, root string) {
	dirs := 0
	_ = filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			p.add(name, "unreadable")
			return nil //nolint:nilerr // it is part of the fingerprint
		}
		if d.IsDir() {
			if dirs++; dirs <= maxTreeWatches {
				p.dirs = append(p.dirs, name)
			}
		}
		info, err := d.Info()
		if err != nil {
			p.add(name, "missing")
			return nil //nolint:nilerr // it is part of the fingerprint
		}
		p.stat(name, info)
		return nil
	})
}

// ancestor returns the real path of the nearest folder above name that exists.
func ancestor(name string) string {
	for {
		name = filepath.Dir(name)
		if real, err := filepath.EvalSymlinks(name); err == nil || name == "/" {
			return real
		}
	}
}
