package osv

import (
	"bytes"
	"crypto/sha256"
	"debug/elf"
	"encoding/hex"
	"errors"
	"fmt"
	"os"

	"github.com/unifaas/unifaas/internal/guest/assets"
)

// loaderFile is the kernel's name in OSv's build.
const loaderFile = "loader-stripped.elf"

// Assets are what OSv needs of the operator.
func Assets() assets.Kind {
	return assets.Kind{
		System: Name,
		Title:  "OSv",
		Files: []assets.File{{Name: loaderFile, Check: func(content []byte) error {
			_, err := parseLoader(content)
			return err
		}}},
		Version: func(contents [][]byte) string { return findVersion(contents[0]) },
		Setting: "[assets] osv in unifaas.toml, or UNIFAAS_OSV_LOADER,",
		Remedy:  "build OSv's loader-stripped.elf and have it checked and kept: unifaas assets add osv FILE",
	}
}

// A Loader is OSv's kernel.
type Loader struct {
	content []byte
	Digest  string // "sha256:..." of the file
	Version string // as it says when it boots, for instance "v0.57.0"; "" when it is not told
	// Static says that it runs statically linked programs, and dynamically
	// linked ones by the dynamic linker in their image. Version 0.57.0 and those
	// before it do not.
	Static bool
	// First and Last bound the addresses that it takes, which programs must
	// leave alone.
	First, Last uint64
}

// ReadLoader reads the loader of a set of [Assets].
func ReadLoader(set *assets.Set) (*Loader, error) {
	path := set.Path(loaderFile)
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	l, err := parseLoader(data)
	if err != nil {
		return nil, fmt.Errorf("read OSv kernel %q: %w", path, err)
	}
	sum := sha256.Sum256(data)
	l.content, l.Digest = data, "sha256:"+hex.EncodeToString(sum[:])
	return l, nil
}

// parseLoader reads what a loader tells of itself.
func parseLoader(data []byte) (*Loader, error) {
	if err := assets.CheckELF(data); err != nil {
		return nil, err
	}
	file, err := elf.NewFile(bytes.NewReader(data))
	if err != nil {
		return nil, err
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
