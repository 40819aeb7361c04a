package kernel

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

// elfKernel is a small ELF file for x86-64 with a note, and text after it.
func elfKernel(note []byte, text string) []byte {
	var b bytes.Buffer
	b.WriteString("\x7fELF\x02\x01\x01" + strings.Repeat("\x00", 9))
	put := func(v any) { _ = binary.Write(&b, binary.LittleEndian, v) }
	put([]uint16{2, 62})                // ET_EXEC, EM_X86_64
	put(uint32(1))                      // version
	put([]uint64{0x1000000, 64, 0})     // entry, program headers, section headers
	put(uint32(0))                      // flags
	put([]uint16{64, 56, 1, 64, 0, 0})  // sizes and numbers of headers
	put([]uint32{4, 4})                 // PT_NOTE, readable
	put([]uint64{120, 0, 0})            // place
	put([]uint64{uint64(len(note)), 0}) // size
	put(uint64(4))                      // alignment
	b.Write(note)
	b.WriteString(text)
	return b.Bytes()
}

// pvhNote is what a kernel with PVH has.
func pvhNote() []byte {
	b := binary.LittleEndian.AppendUint32(nil, 4)
	b = binary.LittleEndian.AppendUint32(b, 8)
	b = binary.LittleEndian.AppendUint32(b, notePVH)
	return append(b, "Xen\x00\x00\x00\x00\x01\x00\x00\x00\x00"...)
}

// bzImage puts a compressed kernel behind a setup header.
func bzImage(packed []byte, size int) []byte {
	const sectors = 4
	b := make([]byte, (sectors+1)*512)
	b[setupSectors] = sectors
	copy(b[setupMagic:], "HdrS")
	binary.LittleEndian.PutUint16(b[setupProtocol:], 0x20f)
	binary.LittleEndian.PutUint16(b[setupVersionAt:], 0x300)
	copy(b[0x500:], "6.1.2-test (someone) #1\x00")
	if !bytes.HasPrefix(packed, []byte{0x1f, 0x8b}) { // which has it already
		packed = binary.LittleEndian.AppendUint32(packed, uint32(size))
	}
	binary.LittleEndian.PutUint32(b[setupPayloadLen:], uint32(len(packed)))
	return append(b, packed...)
}

func packGzip(t testing.TB, data []byte) []byte {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func packLZ4(t testing.TB, data []byte) []byte {
	block := make([]byte, lz4.CompressBlockBound(len(data)))
	n, err := lz4.CompressBlock(data, block, nil)
	if err != nil || n == 0 {
		t.Fatal(n, err)
	}
	return append(binary.LittleEndian.AppendUint32([]byte{0x02, 0x21, 0x4c, 0x18}, uint32(n)), block[:n]...)
}

func packZstd(t testing.TB, data []byte) []byte {
	w, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	return w.EncodeAll(data, nil)
}

var padding = strings.Repeat("text of a kernel ", 100)

func TestInspect(t *testing.T) {
	plain := elfKernel(pvhNote(), "Linux version %s\x00Linux version 6.1.3-own (x)\n"+padding)
	for name, c := range map[string]struct {
		data []byte
		want Image
	}{
		"ELF":         {plain, Image{FormatELF, "6.1.3-own", true}},
		"without PVH": {elfKernel(nil, padding), Image{FormatELF, "", false}},
		"gzip":        {bzImage(packGzip(t, plain), len(plain)), Image{FormatBzImage, "6.1.2-test", true}},
		"lz4":         {bzImage(packLZ4(t, plain), len(plain)), Image{FormatBzImage, "6.1.2-test", true}},
		"zstd":        {bzImage(packZstd(t, plain), len(plain)), Image{FormatBzImage, "6.1.2-test", true}},
	} {
		got, vmlinux, err := Inspect(c.data)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
		if name != "without PVH" && !bytes.Equal(vmlinux, plain) {
			t.Errorf("%s: another kernel comes out", name)
		}
	}
}

func TestInspectErrors(t *testing.T) {
	plain := elfKernel(nil, padding)
	short := bzImage(packGzip(t, plain), len(plain))
	arm := bytes.Clone(plain)
	arm[18] = 183
	for name, c := range map[string]struct {
		data []byte
		want string
	}{
		"nothing":      {nil, "neither a bzImage nor an ELF"},
		"a script":     {[]byte("#!/bin/sh\n"), "neither a bzImage nor an ELF"},
		"of ARM":       {arm, "no kernel for x86-64"},
		"cut off":      {short[:len(short)-9], "cut off"},
		"another size": {bzImage(packLZ4(t, plain), 5), "says 5"},
		"unknown":      {bzImage([]byte("compressed somehow"), 5), "not known"},
	} {
		if _, _, err := Inspect(c.data); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want an error with %q", name, err, c.want)
		}
	}
}

func FuzzInspect(f *testing.F) {
	plain := elfKernel(pvhNote(), padding)
	f.Add(plain)
	f.Add(bzImage(packGzip(f, plain), len(plain)))
	f.Add(bzImage(packLZ4(f, plain), len(plain)))
	f.Add(bzImage(packZstd(f, plain), len(plain)))
	f.Fuzz(func(_ *testing.T, data []byte) {
		if bytes.Contains(data, []byte("\xfd7zXZ")) {
			return // another program's parser
		}
		_, _, _ = Inspect(data)
	})
}

func TestUnsigned(t *testing.T) {
	signed := "module" + "signature" + strings.Repeat("\x00", 8) + "\x00\x00\x00\x09" + signatureMark
	for in, want := range map[string]string{
		signed: "module", "module": "module", signatureMark: signatureMark,
		"m" + "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff" + signatureMark: "m" + "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff" + signatureMark,
	} {
		if got := string(unsigned([]byte(in))); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}

func TestDependencies(t *testing.T) {
	for info, want := range map[string][]string{
		"license=GPL\x00depends=ip6_udp_tunnel,udp-tunnel\x00name=geneve\x00": {"ip6_udp_tunnel", "udp_tunnel"},
		"license=GPL\x00depends=\x00":                                         nil,
		"":                                                                    nil,
	} {
		if diff := cmp.Diff(want, dependencies(info)); diff != "" {
			t.Errorf("dependencies of %q (-want +got):\n%s", info, diff)
		}
	}
}

func TestConfig(t *testing.T) {
	text := "CONFIG_A=y\n# CONFIG_B is not set\nCONFIG_C=m\nCONFIG_D=\"x\"\n"
	vmlinux := elfKernel(nil, configBegin+string(packGzip(t, []byte(text)))+configEnd)
	got, err := embeddedConfig(vmlinux)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]string{"A": "y", "C": "m"}, got); diff != "" {
		t.Errorf("configuration (-want +got):\n%s", diff)
	}
	if lost := missingLines("CONFIG_A=y\n# CONFIG_B is not set\n# CONFIG_C is not set\nCONFIG_E=y\n", text); !cmp.Equal(lost, []string{"# CONFIG_C is not set", "CONFIG_E=y"}) {
		t.Errorf("lost %q", lost)
	}
}

// TestStore adds kernels, finds them, and removes one.
func TestStore(t *testing.T) {
	ctx := context.Background()
	s := NewStore(filepath.Join(t.TempDir(), "kernels"))
	if _, err := s.Default(); !errors.Is(err, ErrNone) {
		t.Errorf("of an empty store: %v", err)
	}
	path := filepath.Join(t.TempDir(), "vmlinux")
	config := configBegin + string(packGzip(t, []byte("CONFIG_VIRTIO_NET=y\n"))) + configEnd
	if err := os.WriteFile(path, elfKernel(pvhNote(), "Linux version 6.1.3-own (x)\n"+config), 0o600); err != nil {
		t.Fatal(err)
	}
	k, err := s.Add(ctx, path)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := s.Add(ctx, path); err != nil || again.ELF() != k.ELF() {
		t.Errorf("the second time: %+v, %v", again, err)
	}
	// What a crash leaves goes with the next change, and is never listed.
	if err := os.MkdirAll(filepath.Join(s.dir, shortWork+"1", "x"), 0o700); err != nil {
		t.Fatal(err)
	}
	got, err := s.Default()
	if err != nil || got.Digest != k.Digest || got.Kind != KindOwn || !got.PVH || got.BzImage() != "" {
		t.Errorf("got %+v, %v", got, err)
	}
	if _, err := got.Modules(DriverNet); err != nil {
		t.Error(err)
	}
	if _, err := got.Modules(DriverEROFS); err == nil || !strings.Contains(err.Error(), "CONFIG_EROFS_FS") {
		t.Errorf("a driver that is not there: %v", err)
	}
	if _, err := s.Find(k.ID()); err != nil {
		t.Error(err)
	}
	if err := s.Remove(ctx, k); err != nil {
		t.Fatal(err)
	}
	if all, err := s.List(); err != nil || len(all) != 0 {
		t.Errorf("after removal: %+v, %v", all, err)
	}
}
