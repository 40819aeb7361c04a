// Package nanostest makes what has the form of a release of Nanos, for tests. It
// can be put into disks and read back, and does not boot.
package nanostest

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/unifaas/unifaas/internal/image/elftest"
)

// loaderSectors is how long a loader is.
const loaderSectors = 95

// Loader returns a boot.img: a first sector that says how long the rest is (Nanos,
// platform/pc/boot/stage1.s).
func Loader() []byte {
	b := bytes.Repeat([]byte{0xf4}, loaderSectors*512)
	clear(b[446:510])
	binary.LittleEndian.PutUint64(b[426:], 0x8000)
	binary.LittleEndian.PutUint64(b[434:], uint64(len(b)-512))
	binary.LittleEndian.PutUint32(b[442:], 12)
	binary.LittleEndian.PutUint16(b[510:], 0xaa55)
	return b
}

// Commit is the version that a kernel tells.
const Commit = "0123456789abcdef0123456789abcdef01234567"

// Kernel returns a kernel.img with a program header of notes.
func Kernel(t testing.TB) []byte {
	t.Helper()
	// What names an interpreter becomes the header of notes.
	b := elftest.File{Machine: elf.EM_X86_64, Interp: "note", Payload: "NVMTFS\x00" + Commit + strings.Repeat("\x00", 1024)}.Bytes(t)
	const programs, size, count = 64, 56, 2
	for i := range count {
		if h := b[programs+i*size:]; elf.ProgType(binary.LittleEndian.Uint32(h)) == elf.PT_INTERP {
			binary.LittleEndian.PutUint32(h, uint32(elf.PT_NOTE))
			return b
		}
	}
	t.Fatal("the kernel has no header that could be of notes")
	return nil
}

// Release makes a folder with both files.
func Release(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range map[string][]byte{"kernel.img": Kernel(t), "boot.img": Loader()} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// Open opens one of those files until the end of the test.
func Open(t testing.TB, path string) *os.File {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}
