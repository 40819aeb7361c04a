package tfs_test

import (
	"fmt"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/unifaas/unifaas/internal/guest/nanos/tfs"
)

// TestPatch sets attributes of all lengths on volumes with and without room at
// their log's end.
func TestPatch(t *testing.T) {
	for _, room := range []int64{0, 100, 4096} {
		for _, length := range []int{0, 1, 30, 3900, 4000, 4096, 100_000, 600_000} {
			t.Run(fmt.Sprint(room, " ", length), func(t *testing.T) {
				dir := t.TempDir()
				write(t, filepath.Join(dir, "file"), []byte("content"))
				v := build(t, tfs.Tree{Dir: dir}, 512, tfs.Options{Room: room, Attributes: tfs.Tuple{
					{Name: "program", Value: "/f"}, {Name: "environment", Value: tfs.Tuple{{Name: "OLD", Value: "1"}}},
				}})
				patch := v.open(t).NewPatch()
				set := tfs.Tuple{{Name: "en1", Value: tfs.Tuple{{Name: "ipaddr", Value: "10.0.0.1"}}}, {Name: "environment", Value: tfs.Tuple{
					{Name: "LONG", Value: strings.Repeat("v", length)}, {Name: "OLD", Value: "2"},
				}}}
				if err := patch.Apply(v.file, v.at, set); err != nil {
					t.Fatal(err)
				}
				read := v.open(t)
				check(t, dir, read)
				got, err := read.Attributes()
				if err != nil {
					t.Fatal(err)
				}
				if want := (tfs.Tuple{{Name: "program", Value: "/f"}, set[1], set[0]}); !reflect.DeepEqual(got, want) {
					t.Errorf("got %.200v", got)
				}
				// What was patched can be patched again.
				if err := read.NewPatch().Apply(v.file, v.at, tfs.Tuple{{Name: "program", Value: "/g"}}); err != nil {
					t.Fatal(err)
				}
				if got, err := v.open(t).Attributes(); err != nil || got.Get("program") != "/g" {
					t.Errorf("patched again: %.200v, %v", got, err)
				}
			})
		}
	}
}

func TestPatchThatDoesNotFit(t *testing.T) {
	v := build(t, tfs.Tree{Dir: t.TempDir()}, 0, tfs.Options{})
	err := v.open(t).NewPatch().Apply(v.file, v.at, tfs.Tuple{{Name: "x", Value: strings.Repeat("x", 4<<20)}})
	if err == nil || !strings.Contains(err.Error(), "sectors") {
		t.Errorf("got %v", err)
	}
}
