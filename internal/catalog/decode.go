package catalog

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/unifaas/unifaas/internal/faas"
)

// MaxFileSize bounds a function.toml, in bytes.
const MaxFileSize = 1 << 20

// DecodeOptions tell [Decode] what the file itself does not.
type DecodeOptions struct {
	Ref  faas.Ref
	File string // name of the file in messages; default "function.toml"
	Dir  string // absolute folder that relative paths start from
	// Sandboxes are the values that the key sandbox may have, besides "auto".
	// Whether one can run here is not asked until something is started.
	Sandboxes []string
	// Contained refuses paths that lead out of Dir: function.toml was sent by
	// somebody who may not read what is there.
	Contained bool
}

// Decode reads a function.toml of either form. It is strict: what it does not
// know it refuses. The error is a [faas.Error] of kind invalid that wraps
// [Problems]. It looks at no file.
func Decode(data []byte, opts DecodeOptions) (*faas.Function, error) {
	if opts.File == "" {
		opts.File = "function.toml"
	}
	if len(data) > MaxFileSize {
		return nil, invalid(Problems{{File: opts.File, Message: fmt.Sprintf("larger than %d bytes", MaxFileSize)}})
	}
	doc := parse(opts.File, data)
	if len(doc.problems) > 0 {
		return nil, invalid(doc.problems)
	}
	top := doc.table()
	var fn *faas.Function
	switch artefactKey, nativeKey := artefactMark(top), nativeMark(top); {
	case artefactKey != "" && nativeKey != "":
		top.problem(nativeKey, "key %q is of the native form and %q of the artefact's; a file is written in one of them",
			nativeKey, strings.ReplaceAll(artefactKey, pathSeparator, "."))
	case artefactKey != "":
		fn = decodeArtefact(top, opts)
	default:
		fn = decodeNative(top, opts)
	}
	if opts.Contained {
		refuseOutside(top)
	}
	if len(doc.problems) > 0 {
		doc.problems.sort()
		return nil, invalid(doc.problems)
	}
	return fn, nil
}

func invalid(ps Problems) error { return faas.Errorf(faas.KindInvalid, "%w", ps) }

// absolute resolves a path of the file against the function's folder.
func (o *DecodeOptions) absolute(path string) string {
	if filepath.IsAbs(path) {
		return filepath.Clean(path)
	}
	return filepath.Join(o.Dir, path)
}
