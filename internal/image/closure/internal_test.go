package closure

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/unifaas/unifaas/internal/faas"
	"github.com/unifaas/unifaas/internal/image/elftest"
)

type cacheEntry struct {
	name, path string
	hwcap      uint64
}

// buildCache writes a cache as ldconfig does, with an empty old part if old.
func buildCache(old bool, entries ...cacheEntry) []byte {
	var table []byte
	at := newCacheHeader + len(entries)*newCacheEntry
	b := append([]byte(newCacheMagic), make([]byte, newCacheHeader-len(newCacheMagic))...)
	binary.NativeEndian.PutUint32(b[len(newCacheMagic):], uint32(len(entries)))
	for _, e := range entries {
		entry := make([]byte, newCacheEntry)
		binary.NativeEndian.PutUint32(entry[4:], uint32(at+len(table)))
		table = append(append(table, e.name...), 0)
		binary.NativeEndian.PutUint32(entry[8:], uint32(at+len(table)))
		table = append(append(table, e.path...), 0)
		binary.NativeEndian.PutUint64(entry[16:], e.hwcap)
		b = append(b, entry...)
	}
	b = append(b, table...)
	if old {
		head := append([]byte(oldCacheMagic), 1, 0, 0, 0)
		head = append(head, make([]byte, oldCacheEntry)...)
		head = append(head, make([]byte, -len(head)&7)...)
		b = append(head, b...)
	}
	return b
}

var someEntries = []cacheEntry{
	{"libc.so.6", "/lib/x86_64-linux-gnu/libc.so.6", 0},
	{"libc.so.6", "/lib/i386-linux-gnu/libc.so.6", 0},
	{"libz.so.1", "/lib/glibc-hwcaps/x86-64-v3/libz.so.1", 1 << 62},
	{"libz.so.1", "/lib/libz.so.1", 0},
	{"relative.so", "relative.so", 0},
}

func TestParseCache(t *testing.T) {
	want := map[string][]string{
		"libc.so.6": {"/lib/x86_64-linux-gnu/libc.so.6", "/lib/i386-linux-gnu/libc.so.6"},
		"libz.so.1": {"/lib/libz.so.1"},
	}
	for _, old := range []bool{false, true} {
		got, err := parseCache(buildCache(old, someEntries...))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error("cache (-want +got):\n", diff)
		}
	}
}

func TestParseCacheRefusesTruncation(t *testing.T) {
	whole := buildCache(true, someEntries...)
	table := bytes.Index(whole, []byte("libc.so.6"))
	for n := range table {
		if _, err := parseCache(whole[:n]); err == nil {
			t.Fatalf("the first %d of %d bytes are accepted", n, len(whole))
		}
	}
}

func TestParseRealCache(t *testing.T) {
	data, err := os.ReadFile("/etc/ld.so.cache")
	if err != nil {
		t.Skip("this machine has no ld.so.cache")
	}
	cache, err := parseCache(data)
	if err != nil {
		t.Fatal(err)
	}
	if len(cache["libc.so.6"]) == 0 {
		t.Error("libc.so.6 is not in the cache")
	}
}

func FuzzParseCache(f *testing.F) {
	f.Add(buildCache(false, someEntries...))
	f.Add(buildCache(true, someEntries...))
	f.Add([]byte(oldCacheMagic + "\xff\xff\xff\xff"))
	f.Fuzz(func(t *testing.T, data []byte) {
		cache, err := parseCache(data)
		if err != nil {
			return
		}
		for name, paths := range cache {
			for _, p := range paths {
				if name == "" || !filepath.IsAbs(p) || !bytes.Contains(data, []byte(p)) {
					t.Errorf("entry %q: %q", name, p)
				}
			}
		}
	})
}

func FuzzReadObject(f *testing.F) {
	f.Add(elftest.File{}.Bytes(f))
	f.Add(elftest.File{Interp: "/ld.so", Needed: []string{"liba.so"}, RunPath: "$ORIGIN", RPath: "/x"}.Bytes(f))
	f.Fuzz(func(t *testing.T, data []byte) {
		o, err := readObject(bytes.NewReader(data))
		if err != nil {
			return
		}
		for _, s := range append(append(o.needed, o.interp), o.runpath...) {
			if len(s) > maxString || strings.Contains(s, "\x00") {
				t.Errorf("string %q", s)
			}
		}
	})
}

func FuzzInterpreterOf(f *testing.F) {
	f.Add("#!/usr/bin/env -S A=1 node --flag\nrest")
	f.Add("#! /bin/sh -e\n")
	f.Add("#!sh\n")
	f.Add("#!/bin/sh")
	f.Add("#!\n")
	f.Fuzz(func(t *testing.T, head string) {
		path, args, ok := interpreterOf(head)
		if !ok {
			return
		}
		line, _, _ := strings.Cut(head, "\n")
		if !filepath.IsAbs(path) || !strings.Contains(line, path) {
			t.Errorf("interpreter %q", path)
		}
		if name := envProgram(args); strings.HasPrefix(name, "-") || strings.Contains(name, "=") || !strings.Contains(line, name) {
			t.Errorf("env starts %q", name)
		}
	})
}

// FuzzClosure has a file that is a script, a program or nothing in particular.
func FuzzClosure(f *testing.F) {
	f.Add([]byte("#!/usr/bin/env nothing-that-is-there\n"))
	f.Add([]byte("#!/bin/nothing-that-is-there\n"))
	f.Add(elftest.File{Needed: []string{"liba.so"}, RunPath: "$ORIGIN/x"}.Bytes(f))
	f.Fuzz(func(t *testing.T, data []byte) {
		file := filepath.Join(t.TempDir(), "program")
		if err := os.WriteFile(file, data, 0o755); err != nil {
			t.Fatal(err)
		}
		c, err := NewFinder(filepath.Join(t.TempDir(), "no-cache"), nil).Find(file)
		if err != nil {
			if faas.KindOf(err) != faas.KindInvalid {
				t.Error(err)
			}
			return
		}
		for _, p := range c.Files {
			if !filepath.IsAbs(p) {
				t.Errorf("needs %q", p)
			}
		}
	})
}

// Section headers may say anything: they are not looked at.
func TestSectionHeadersAreIgnored(t *testing.T) {
	data := elftest.File{Interp: "/ld.so", Needed: []string{"liba.so"}}.Bytes(t)
	binary.LittleEndian.PutUint64(data[shoffAt64:], 1<<40)
	binary.LittleEndian.PutUint16(data[shnumAt64:], 7)
	o, err := readObject(bytes.NewReader(data))
	if err != nil || o.interp != "/ld.so" || len(o.needed) != 1 {
		t.Errorf("got %+v, %v", o, err)
	}
}

func TestScanPaths(t *testing.T) {
	const prefix = "/usr/share/nodejs/"
	file := filepath.Join(t.TempDir(), "f")
	// One string lies across the border of two chunks.
	content := prefix + "a.js\x00" + strings.Repeat("x", scanChunk-60) + prefix + "border/b.js\x00" +
		prefix + "../../etc/shadow\x00" + prefix + strings.Repeat("y", 2*maxScanPath) + "\x00" + prefix + "unfinished"
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := scanPaths(file, prefix)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{prefix + "a.js", prefix + "border/b.js"}, got); diff != "" {
		t.Error("paths (-want +got):\n", diff)
	}
}

// Debian's libnode names files of other packages; those that exist belong to
// the closure.
func TestNodeWithExternalModules(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	module := filepath.Join(dir, "nodejs/undici.js")
	lib := elftest.File{Type: elf.ET_DYN, Payload: module + "\x00" + dir + "/nodejs/missing.js\x00"}
	program := elftest.File{Interp: filepath.Join(dir, "ld.so"), Needed: []string{"libnode.so.108"}, RunPath: dir}
	for name, content := range map[string][]byte{
		"nodejs/undici.js": nil, "ld.so": lib.Bytes(t), "libnode.so.108": lib.Bytes(t), "node": program.Bytes(t),
	} {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	f := NewFinder(filepath.Join(dir, "no-cache"), nil)
	f.external = dir + "/nodejs/"
	c, err := f.Find(filepath.Join(dir, "node"))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{dir + "/ld.so", dir + "/libnode.so.108", module}
	if diff := cmp.Diff(want, c.Files); diff != "" {
		t.Error("closure (-want +got):\n", diff)
	}
}

func TestMuslProvides(t *testing.T) {
	for name, want := range map[string]bool{
		"libc.so": true, "libpthread.so.0": true, "libcrypto.so.3": false, "libm.so.6": true, "libmagic.so.1": false,
	} {
		if got := muslProvides(name); got != want {
			t.Errorf("muslProvides(%q) = %v", name, got)
		}
	}
}
