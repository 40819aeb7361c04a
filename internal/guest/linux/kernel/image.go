package kernel

import (
	"bytes"
	"compress/gzip"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os/exec"

	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

// A Format is that of a kernel's file.
type Format string

// The formats.
const (
	FormatBzImage Format = "bzImage" // Linux's own, compressed
	FormatELF     Format = "vmlinux" // an ELF file, as the linker makes it
)

// An Image is what a kernel's file tells of itself.
type Image struct {
	Format  Format
	Version string // as uname -r has it; "" when it is not told
	// PVH says that the ELF kernel can be entered by Xen's protocol.
	PVH bool
}

// Inspect tells what a kernel's file is. elf is the kernel as an ELF file: data
// itself, or what was compressed in it.
func Inspect(data []byte) (image Image, vmlinux []byte, err error) {
	switch {
	case bytes.HasPrefix(data, []byte(elf.ELFMAG)):
		image.Format, vmlinux = FormatELF, data
	case len(data) > setupEnd && string(data[setupMagic:setupMagic+4]) == "HdrS":
		image.Format = FormatBzImage
		if vmlinux, err = payload(data); err != nil {
			return image, nil, fmt.Errorf("read bzImage: %w", err)
		}
		image.Version = setupVersion(data)
	default:
		return image, nil, errors.New("it is neither a bzImage nor an ELF file: no kernel for x86-64")
	}
	image.PVH, err = checkELF(vmlinux)
	if err == nil && image.Version == "" {
		image.Version = bannerVersion(vmlinux)
	}
	return image, vmlinux, err
}

// Offsets of the setup header (Linux, Documentation/arch/x86/boot.rst).
const (
	setupSectors    = 0x1f1 // 1 byte: sectors of real-mode code, less one
	setupMagic      = 0x202 // "HdrS"
	setupProtocol   = 0x206 // 2 bytes
	setupVersionAt  = 0x20e // 2 bytes: where the version is, less 0x200
	setupPayload    = 0x248 // 4 bytes: from the end of the real-mode code
	setupPayloadLen = 0x24c // 4 bytes
	setupEnd        = 0x250
	protocolPayload = 0x208 // the first with a payload's place
)

// payload returns the kernel that a bzImage unpacks when it boots.
func payload(data []byte) ([]byte, error) {
	if p := binary.LittleEndian.Uint16(data[setupProtocol:]); p < protocolPayload {
		return nil, fmt.Errorf("its boot protocol is %d.%02d, of before Linux 2.6.26", p>>8, p&0xff)
	}
	sectors := int64(data[setupSectors])
	if sectors == 0 {
		sectors = 4 // for compatibility, as boot.rst says
	}
	at := (sectors+1)*512 + int64(binary.LittleEndian.Uint32(data[setupPayload:]))
	end := at + int64(binary.LittleEndian.Uint32(data[setupPayloadLen:]))
	if at > end || end > int64(len(data)) || end-at < 8 {
		return nil, errors.New("it is cut off")
	}
	// After the compressed kernel comes its size, which gzip alone counts to
	// its format.
	size := int64(binary.LittleEndian.Uint32(data[end-4:]))
	if size > maxKernel {
		return nil, fmt.Errorf("it unpacks to %d bytes", size)
	}
	return decompress(data[at:end], size)
}

// maxKernel bounds what is unpacked.
const maxKernel = 1 << 30

// decompress unpacks what begins with the magic number of one of the formats
// in which a kernel can be compressed.
func decompress(data []byte, size int64) ([]byte, error) {
	switch {
	case bytes.HasPrefix(data, []byte{0x1f, 0x8b}):
		r, err := gzip.NewReader(bytes.NewReader(data))
		if err != nil {
			return nil, err
		}
		r.Multistream(false)
		return exactly(r, size)
	case bytes.HasPrefix(data, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		r, err := zstd.NewReader(bytes.NewReader(data[:len(data)-4]), zstd.WithDecoderMaxMemory(maxKernel))
		if err != nil {
			return nil, err
		}
		defer r.Close()
		return exactly(r, size)
	case bytes.HasPrefix(data, []byte{0x02, 0x21, 0x4c, 0x18}):
		return unpackLZ4(data[4:len(data)-4], size)
	case bytes.HasPrefix(data, []byte("\xfd7zXZ\x00")):
		return unpackXZ(data[:len(data)-4], size)
	case bytes.HasPrefix(data, []byte(elf.ELFMAG)): // not compressed
		return data, nil
	}
	return nil, fmt.Errorf("it is compressed in a way that is not known (% x); give the kernel as an ELF file, vmlinux", data[:4])
}

func exactly(r io.Reader, size int64) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, size+1))
	if err == nil && int64(len(data)) != size {
		err = fmt.Errorf("it unpacks to %d bytes or more, and says %d", len(data), size)
	}
	return data, err
}

// unpackLZ4 unpacks the blocks of LZ4's legacy frame (lz4, doc/lz4_Frame_format.md):
// each is preceded by its length in four bytes.
func unpackLZ4(data []byte, size int64) ([]byte, error) {
	const most = 8 << 20 // of an unpacked block
	block := make([]byte, most)
	var out []byte
	for len(data) >= 4 {
		n := int64(binary.LittleEndian.Uint32(data))
		if data = data[4:]; n > int64(len(data)) {
			return nil, errors.New("a compressed block is cut off")
		}
		unpacked, err := lz4.UncompressBlock(data[:n], block)
		if err != nil {
			return nil, err
		}
		out, data = append(out, block[:unpacked]...), data[n:]
		if int64(len(out)) > size {
			break
		}
	}
	if int64(len(out)) != size {
		return nil, fmt.Errorf("it unpacks to %d bytes, and says %d", len(out), size)
	}
	return out, nil
}

// unpackXZ has the host's xz do it: kernels go through its filter for machine
// code, which no Go library has.
func unpackXZ(data []byte, size int64) ([]byte, error) {
	cmd := exec.Command("xz", "--decompress", "--stdout", "--single-stream")
	cmd.Stdin = bytes.NewReader(data)
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("%w; install xz-utils, or give the kernel as an ELF file, vmlinux", err)
	}
	kernel, err := exactly(out, size)
	_, _ = io.Copy(io.Discard, out)
	return kernel, errors.Join(err, cmd.Wait())
}

// setupVersion reads the text that a bzImage has for people, whose first word
// is the version.
func setupVersion(data []byte) string {
	at := int(binary.LittleEndian.Uint16(data[setupVersionAt:]))
	if at == 0 || at+0x200 >= len(data) {
		return ""
	}
	return firstWord(data[at+0x200:])
}

// bannerVersion looks for the line with which the kernel greets.
func bannerVersion(vmlinux []byte) string {
	banner := []byte("Linux version ")
	for rest := vmlinux; ; {
		i := bytes.Index(rest, banner)
		if i < 0 {
			return ""
		}
		rest = rest[i+len(banner):]
		if word := firstWord(rest); word != "" && word[0] >= '0' && word[0] <= '9' {
			return word
		}
	}
}

func firstWord(text []byte) string {
	text = text[:min(len(text), 100)]
	if i := bytes.IndexAny(text, " \x00\n"); i >= 0 {
		return string(text[:i])
	}
	return ""
}

// notePVH is XEN_ELFNOTE_PHYS32_ENTRY (Xen, xen/include/public/elfnote.h).
const notePVH = 18

// checkELF checks that a kernel is one for x86-64, and tells whether it has the
// note of PVH.
func checkELF(vmlinux []byte) (pvh bool, err error) {
	f, err := elf.NewFile(bytes.NewReader(vmlinux))
	if err != nil {
		return false, fmt.Errorf("read kernel: %w", err)
	}
	defer func() { _ = f.Close() }()
	if f.Machine != elf.EM_X86_64 || f.Class != elf.ELFCLASS64 || f.Type != elf.ET_EXEC && f.Type != elf.ET_DYN {
		return false, fmt.Errorf("it is an ELF file (%v, %v, %v), but no kernel for x86-64", f.Class, f.Machine, f.Type)
	}
	for _, p := range f.Progs {
		if p.Type != elf.PT_NOTE || p.Filesz == 0 || p.Filesz > 1<<20 {
			continue
		}
		notes := make([]byte, p.Filesz)
		if _, err := p.ReadAt(notes, 0); err != nil {
			return false, fmt.Errorf("read kernel's notes: %w", err)
		}
		pvh = pvh || hasNote(notes, "Xen\x00", notePVH)
	}
	return pvh, nil
}

// hasNote looks for a note: lengths of name and content, type, name, content,
// each of these filled up to four bytes.
func hasNote(notes []byte, name string, kind uint32) bool {
	for len(notes) >= 12 {
		names, content := uint64(binary.LittleEndian.Uint32(notes)), uint64(binary.LittleEndian.Uint32(notes[4:]))
		t := binary.LittleEndian.Uint32(notes[8:])
		notes = notes[12:]
		end := (names+3)&^3 + (content+3)&^3
		if end > uint64(len(notes)) {
			return false
		}
		if t == kind && string(notes[:names]) == name {
			return true
		}
		notes = notes[end:]
	}
	return false
}
