package osv

import (
	"bytes"
	"crypto/sha256"
	"debug/elf"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/unifaas/unifaas/internal/faas"
)

// A Loader is OSv's kernel: loader-stripped.elf of its build.
type Loader struct {
	Path    string
	Digest  string // "sha256:..." of the file
	Version string // as it says when it boots, for instance "v0.57.0"; "" when it is not told
	// Static says that it runs statically linked programs. Version 0.57.0 and
	// those before it do not.
	Static bool
	// First and Last bound the addresses that it takes, which programs must
	// leave alone.
	First, Last uint64
}

// ErrNone says that no loader is named.
var ErrNone = errors.New("no OSv kernel is named")

// maxLoader bounds a loader's file, in bytes; it has some 7 MiB.
const maxLoader = 64 << 20

// ReadLoader reads the loader at path and checks that it is one.
func ReadLoader(path string) (*Loader, error) {
	l, err := readLoader(path)
	if err != nil {
		return nil, fmt.Errorf("read OSv kernel %q: %w", path, err)
	}
	return l, nil
}

func readLoader(path string) (*Loader, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, errors.Join(err, errors.New("it is no regular file"))
	}
	data, err := io.ReadAll(io.LimitReader(f, maxLoader+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxLoader {
		return nil, fmt.Errorf("it has more than %d MiB", maxLoader>>20)
	}
	l, err := parseLoader(data)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(data)
	l.Path, l.Digest = path, "sha256:"+hex.EncodeToString(sum[:])
	return l, nil
}

// parseLoader reads what a loader tells of itself.
func parseLoader(data []byte) (*Loader, error) {
	file, err := elf.NewFile(bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("it is no loader-stripped.elf: %w", err)
	}
	if file.Machine != elf.EM_X86_64 || file.Type != elf.ET_EXEC && file.Type != elf.ET_DYN {
		return nil, fmt.Errorf("it is an ELF file of %v for %v, not a kernel for x86-64", file.Type, file.Machine)
	}
	l := &Loader{Version: findVersion(data), Static: !bytes.Contains(data, []byte("Statically linked executables are not supported"))}
	if !bytes.Contains(data, []byte("--rootfs=")) {
		return nil, errors.New("it is an ELF file, but does not know OSv's option --rootfs")
	}
	for _, p := range file.Progs {
		if p.Type != elf.PT_LOAD {
			continue
		}
		if l.Last == 0 || p.Vaddr < l.First {
			l.First = p.Vaddr
		}
		l.Last = max(l.Last, p.Vaddr+p.Memsz)
	}
	return l, nil
}

// findVersion looks for the first thing that OSv prints, "OSv v0.57.0\n".
func findVersion(data []byte) string {
	const longest = 80
	for rest := data; ; {
		i := bytes.Index(rest, []byte("\x00OSv v"))
		if i < 0 {
			return ""
		}
		rest = rest[i+len("\x00OSv "):]
		if end := bytes.IndexByte(rest[:min(len(rest), longest)], '\n'); end > 0 {
			return string(rest[:end])
		}
	}
}

// A loaderFile follows the loader at a path. Its methods may be called
// concurrently.
type loaderFile struct {
	path string

	mu    sync.Mutex
	known *Loader
	size  int64
	time  time.Time
}

// get returns the loader, read again when its file has changed.
func (f *loaderFile) get() (*Loader, error) {
	if f.path == "" {
		return nil, ErrNone
	}
	info, err := os.Stat(f.path)
	if err != nil {
		return nil, faas.Errorf(faas.KindUnavailable, "find OSv kernel: %w", err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.known != nil && f.size == info.Size() && f.time.Equal(info.ModTime()) {
		return f.known, nil
	}
	l, err := ReadLoader(f.path)
	if err != nil {
		return nil, err
	}
	f.known, f.size, f.time = l, info.Size(), info.ModTime()
	return l, nil
}
