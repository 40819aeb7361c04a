package catalog

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/unifaas/unifaas/internal/faas"
)

// FolderOptions configure a [Folder].
type FolderOptions struct {
	Dir       string       // required: a function is Dir/NAME/function.toml
	Sandboxes []string     // see DecodeOptions
	Logger    *slog.Logger // default: discard
	// Inputs returns the paths, besides its function.toml, that a function is
	// made from; they are watched, too. Default: none.
	Inputs func(*faas.Function) []string
	// Settle is how long files must stay as they are before they are believed
	// to be whole; default 100 ms.
	Settle time.Duration
	// SettleMax bounds the wait for files that don't come to rest; default 5 s.
	SettleMax time.Duration
	// Rescan is the time between looks at everything, in case the kernel kept
	// a change to itself; default 30 s. Poll replaces it where the kernel
	// can't watch enough folders; default 1 s.
	Rescan, Poll time.Duration
	// NoNotify has everything found by looking, every Poll: for file systems
	// that don't tell of changes, such as NFS.
	NoNotify bool
}

func (o *FolderOptions) setDefaults() {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Inputs == nil {
		o.Inputs = func(*faas.Function) []string { return nil }
	}
	for _, d := range []struct {
		at  *time.Duration
		def time.Duration
	}{
		{&o.Settle, 100 * time.Millisecond}, {&o.SettleMax, 5 * time.Second},
		{&o.Rescan, 30 * time.Second}, {&o.Poll, time.Second},
	} {
		if *d.at <= 0 {
			*d.at = d.def
		}
	}
}

// A Folder is a [Source] of the functions in a folder. It follows edits,
// additions and removals; a version counts once its files have come to rest.
// A function whose folder's name is none by faas.ValidName is delivered with
// that as its error; folders that begin with a dot are nobody's business.
// When the folder itself can't be read, the functions stay as they were.
type Folder struct {
	opts FolderOptions
	real string // Dir without symbolic links
}

// NewFolder returns the source of the functions in opts.Dir. The error's kind
// is not-found when there is no such folder.
func NewFolder(opts FolderOptions) (*Folder, error) {
	opts.setDefaults()
	dir, err := filepath.Abs(opts.Dir)
	if err != nil {
		return nil, faas.Errorf(faas.KindInvalid, "functions folder %q: %w", opts.Dir, err)
	}
	real, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return nil, faas.Errorf(faas.KindNotFound, "functions folder %q can't be opened; make it or name another: %w", opts.Dir, err)
	}
	if info, err := os.Stat(real); err != nil || !info.IsDir() {
		return nil, faas.Errorf(faas.KindNotFound, "functions folder %q is no folder", opts.Dir)
	}
	return &Folder{opts: opts, real: real}, nil
}

// Watch implements [Source]. Several may run at the same time.
func (f *Folder) Watch(ctx context.Context, deliver func(Update)) error {
	r := newScanner(f, deliver)
	defer r.watches.close()
	r.run(ctx)
	return nil
}

// candidate reports whether a folder called name may be meant as a function:
// whether the name is a valid one shows later, so that its owner is told.
func candidate(name string) bool { return !strings.HasPrefix(name, ".") }

// names lists what may be a function.
func (f *Folder) names() ([]string, error) {
	entries, err := os.ReadDir(f.real)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		// A link may lead to a folder; whether it does shows later.
		if candidate(e.Name()) && (e.IsDir() || e.Type()&os.ModeSymlink != 0) {
			names = append(names, e.Name())
		}
	}
	return names, nil
}
