package cpio

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestArchiveBytes(t *testing.T) {
	var got bytes.Buffer
	a := NewWriter(&got)
	a.Text("/d/f", "hello")
	a.Link("d/l", "f")
	a.Folder("d") // is there
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	zero, eight := "00000000", "00000001"
	head := func(inode, mode, size, name string) string {
		return "070701" + inode + mode + zero + zero + eight + zero + size + zero + zero + zero + zero + name + zero
	}
	want := head("00000001", "000041ED", zero, "00000002") + "d\x00" +
		head("00000002", "000081A4", "00000005", "00000004") + "d/f\x00\x00\x00" + "hello\x00\x00\x00" +
		head("00000003", "0000A1FF", "00000001", "00000004") + "d/l\x00\x00\x00" + "f\x00\x00\x00" +
		head("00000004", zero, zero, "0000000B") + "TRAILER!!!\x00\x00\x00\x00"
	if diff := cmp.Diff(want, got.String()); diff != "" {
		t.Errorf("archive (-want +got):\n%s", diff)
	}
}

func TestArchiveOfATree(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "sub"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "sub", "program"), []byte("x"), 0o755); err != nil {
		t.Fatal(err)
	}
	var got bytes.Buffer
	a := NewWriter(&got)
	a.Tree("/at/here", dir, Change{})
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	want := map[string]bool{"at": true, "at/here": true, "at/here/sub": true, "at/here/sub/program": true}
	if diff := cmp.Diff(want, a.have); diff != "" {
		t.Errorf("entries (-want +got):\n%s", diff)
	}
	if !bytes.Contains(got.Bytes(), []byte("000081ED")) {
		t.Error("the program can't be executed")
	}
}

func TestArchiveFailsForWhatIsNotThere(t *testing.T) {
	a := NewWriter(&bytes.Buffer{})
	a.File("f", filepath.Join(t.TempDir(), "none"))
	a.Text("g", "after it")
	if err := a.Close(); !os.IsNotExist(err) && err == nil {
		t.Errorf("got %v", err)
	}
}
