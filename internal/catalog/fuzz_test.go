package catalog_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/unifaas/unifaas/internal/catalog"
	"github.com/unifaas/unifaas/internal/faas"
)

func FuzzDecode(f *testing.F) {
	files, err := filepath.Glob("testdata/bad/*.toml")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	for _, s := range []string{
		"image = \"file:./server\"\ntimeout = { first-byte = \"1s\" }\n[env]\nA = \"b\"\n[files]\n\"/app\" = \"./src\"\n",
		"keepalive = 1\nconcurrent-requests = 1\n[vm]\nkernel = \"k\"\nimage = \"i\"\ncmdline = \"\"\nhypervisor = { type = \"firecracker\" }\n",
		"\ufeffimage = \"a\"", "[[a.b]]\nc.d = [[1, {e = 2}]]", "\"\\u0000\" = 1\n\"\" = 2",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		fn, err := decode(string(data))
		if err != nil {
			checkProblems(t, err, data)
			return
		}
		rev, err := catalog.NewRevision(fn, faas.Image{Digest: "sha256:0"})
		if err != nil || rev.Digest == "" {
			t.Error("accepted function makes no revision:", err)
		}
		if fn.Port < 0 || fn.Concurrency < 1 || fn.StartTimeout <= 0 || fn.Sandbox == "" || fn.Keepalive < 0 {
			t.Errorf("accepted function is not resolved: %+v", fn)
		}
	})
}

func checkProblems(t *testing.T, err error, data []byte) {
	var problems catalog.Problems
	if !errors.As(err, &problems) || len(problems) == 0 {
		t.Fatalf("error %v wraps no Problems", err)
	}
	for _, p := range problems {
		if p.Message == "" || p.Line < 0 || p.Line > len(data)+1 || p.Line > 0 && p.Column < 1 {
			t.Errorf("problem %+v has no message or is nowhere", p)
		}
	}
}
