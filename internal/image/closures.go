package image

import (
	"sync"

	"golang.org/x/sys/unix"

	"github.com/unifaas/unifaas/internal/image/closure"
)

// A closureCache remembers closures for as long as no file of theirs changes.
// Its zero value is empty.
type closureCache struct {
	mu    sync.Mutex
	known map[string]cachedClosure // by the program's path
}

type cachedClosure struct {
	closure *closure.Closure
	ids     []identity // of the program and the closure's files
}

func (cc *closureCache) get(f *closure.Finder, program string) (*closure.Closure, error) {
	cc.mu.Lock()
	known, ok := cc.known[program]
	cc.mu.Unlock()
	if ok && same(known.ids, identities(program, known.closure.Files)) {
		return known.closure, nil
	}
	before := identities(program, nil)
	c, err := f.Find(program)
	if err != nil {
		return nil, err
	}
	ids := identities(program, c.Files)
	if ids == nil || !same(before, ids[:1]) {
		return nil, errChanged(program)
	}
	cc.mu.Lock()
	defer cc.mu.Unlock()
	if cc.known == nil || len(cc.known) >= maxClosures {
		cc.known = map[string]cachedClosure{}
	}
	cc.known[program] = cachedClosure{c, ids}
	return c, nil
}

// maxClosures bounds the memory of the cache.
const maxClosures = 4096

// files returns the files of a closure that is known.
func (cc *closureCache) files(program string) []string {
	cc.mu.Lock()
	defer cc.mu.Unlock()
	if known, ok := cc.known[program]; ok {
		return known.closure.Files
	}
	return nil
}

// identities returns nil when one of the files is gone.
func identities(program string, files []string) []identity {
	ids := make([]identity, 0, 1+len(files))
	for _, name := range append([]string{program}, files...) {
		var st unix.Stat_t
		if err := unix.Stat(name, &st); err != nil {
			return nil
		}
		ids = append(ids, identityOf(&st))
	}
	return ids
}

func same(a, b []identity) bool {
	if len(a) == 0 || len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}
