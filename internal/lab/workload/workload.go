// Package workload has the functions that the laboratory measures, ready to be
// served: a program in Go that does whatever the experiments ask for, and the
// smallest server in JavaScript. It writes them into a folder of functions; it
// does not run them.
package workload

import (
	"archive/zip"
	"bytes"
	"embed"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// embedded holds the Go program where `make build` has put it.
//
//go:embed all:embedded
var embedded embed.FS

//go:embed server.js
var server []byte

// ErrNotBuilt says that the program is not in this build.
var ErrNotBuilt = errors.New("this build has no functions to measure with; build with make build")

// Languages of functions.
const (
	Go   = "go"
	Node = "node"
)

// Languages are all of them.
var Languages = []string{Go, Node}

// Hello is what the path /hello answers with, by language.
var Hello = map[string]string{Go: "Hello from Go\n", Node: "Hello from Node\n"}

const (
	// ArchiveFiles and ArchiveFileSize are those of the archive that /read
	// reads and /unzip unpacks: 10 files of 5 MiB of random bytes, as in the
	// paper.
	ArchiveFiles    = 10
	ArchiveFileSize = 5 << 20
)

// A Folder is where the programs are, beside the functions that use them.
type Folder struct {
	dir  string
	node string // the path of node, or the reason why there is none
	err  error
}

// Write writes the programs into dir. program is the Go program where it is
// not the one in this build, nil otherwise.
func Write(dir string, program []byte) (*Folder, error) {
	if program == nil {
		var err error
		if program, err = embedded.ReadFile("embedded/benchmark"); err != nil {
			return nil, ErrNotBuilt
		}
	}
	f := &Folder{dir: dir}
	f.node, f.err = exec.LookPath("node")
	archive, err := archive()
	if err != nil {
		return nil, err
	}
	for name, content := range map[string][]byte{"benchmark": program, "archive.zip": archive, "src/server.js": server} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return nil, err
		}
		if err := os.WriteFile(path, content, 0o755); err != nil {
			return nil, err
		}
	}
	return f, nil
}

// archive is the same at each call.
func archive() ([]byte, error) {
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	random := rand.NewChaCha8([32]byte{})
	content := make([]byte, ArchiveFileSize)
	for i := range ArchiveFiles {
		_, _ = random.Read(content) // never fails
		f, err := w.Create(fmt.Sprintf("file-%d", i))
		if err == nil {
			_, err = f.Write(content)
		}
		if err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// Missing returns why functions of a language can't be served here, or nil.
func (f *Folder) Missing(language string) error {
	if language == Node && f.err != nil {
		return errors.New("node is not installed (on Debian and Ubuntu: apt-get install nodejs)")
	}
	return nil
}

// A Function says what to serve.
type Function struct {
	Sandbox  string // value of the sandbox key
	Keys     string // lines of function.toml that choose a variant
	Language string
	// Settings are further lines.
	Settings string
}

// TOML returns the function's function.toml.
func (f *Folder) TOML(fn Function) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# Written by unifaas lab.\nsandbox = %q\n%smemory = 512\ncpus = 1.0\ndisk = 64\n%s", fn.Sandbox, fn.Keys, fn.Settings)
	if fn.Language == Node {
		fmt.Fprintf(&b, "image = %q\ncommand = [\"node\", \"/app/server.js\"]\n[files]\n\"/app\" = %q\n", "file:"+f.node, filepath.Join(f.dir, "src"))
		return b.String()
	}
	fmt.Fprintf(&b, "image = %q\n[files]\n\"/data/archive.zip\" = %q\n", "file:"+filepath.Join(f.dir, "benchmark"), filepath.Join(f.dir, "archive.zip"))
	return b.String()
}
