package image

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"
	"golang.org/x/sys/unix"

	"github.com/unifaas/unifaas/internal/faas"
)

// An identity changes whenever a file's content or metadata does, as far as
// the kernel's clock can tell.
type identity struct {
	dev, ino     uint64
	size         int64
	mtime, ctime int64 // nanoseconds since 1970
}

func identityOf(st *unix.Stat_t) identity {
	return identity{
		dev: st.Dev, ino: st.Ino, size: st.Size,
		mtime: st.Mtim.Nano(), ctime: st.Ctim.Nano(),
	}
}

func fstat(f *os.File) (unix.Stat_t, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return st, &os.PathError{Op: "fstat", Path: f.Name(), Err: err}
	}
	return st, nil
}

// content is what is known of a file's content.
type content struct {
	digest     string // SHA-256 in hexadecimal
	size       int64
	capability string // value of security.capability
}

// contents remembers the digests of files by their identity, so that a file
// is read again only when it has changed.
type contents struct {
	flights singleflight.Group
	mu      sync.Mutex
	known   map[identity]content
}

func newContents() *contents { return &contents{known: map[identity]content{}} }

// maxContents bounds the memory for what is known, about 30 MiB.
const maxContents = 1 << 17

// tick is more than the granularity of the kernel's file times. What was
// changed less than a tick ago may change again with the same times.
const tick = 50 * time.Millisecond

// get returns the content of f, whose identity is id.
func (c *contents) get(ctx context.Context, f *os.File, id identity) (content, error) {
	c.mu.Lock()
	known, ok := c.known[id]
	c.mu.Unlock()
	if ok {
		return known, nil
	}
	v, err, _ := c.flights.Do(fmt.Sprint(id), func() (any, error) { return c.read(f, id) })
	if err != nil {
		return content{}, err
	}
	return v.(content), ctx.Err()
}

func (c *contents) read(f *os.File, id identity) (content, error) {
	began := time.Now()
	h := sha256.New()
	size, err := io.Copy(h, io.NewSectionReader(f, 0, id.size+1))
	if err != nil {
		return content{}, fmt.Errorf("read %q: %w", f.Name(), err)
	}
	capability := readCapability(f)
	st, err := fstat(f)
	if err != nil {
		return content{}, err
	}
	if identityOf(&st) != id || size != id.size {
		return content{}, errChanged(f.Name())
	}
	got := content{hex.EncodeToString(h.Sum(nil)), size, capability}
	if began.UnixNano()-max(id.ctime, id.mtime) > int64(tick) {
		c.remember(id, got)
	}
	return got, nil
}

func (c *contents) remember(id identity, got content) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.known) >= maxContents {
		clear(c.known) // rare; what is in use comes back
	}
	c.known[id] = got
}

func errChanged(name string) error {
	return faas.Errorf(faas.KindBusy, "%q changed while it was being read", name)
}

// readCapability returns "" also where the file system has no attributes.
func readCapability(f *os.File) string {
	buf := make([]byte, 64)
	n, err := unix.Fgetxattr(int(f.Fd()), "security.capability", buf)
	if err != nil {
		return ""
	}
	return string(buf[:n])
}
