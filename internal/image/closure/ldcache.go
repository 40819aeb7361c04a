package closure

import (
	"bytes"
	"encoding/binary"
	"errors"
	"strings"
)

// The format of ld.so.cache is that of glibc's sysdeps/generic/dl-cache.h: a
// header, entries, strings. An old-format cache may stand before it.
const (
	oldCacheMagic   = "ld.so-1.7.0\x00"
	oldCacheHeader  = len(oldCacheMagic) + 4
	oldCacheEntry   = 12
	newCacheMagic   = "glibc-ld.so.cache1.1"
	newCacheHeader  = 48
	newCacheEntry   = 24
	maxCacheEntries = 1 << 20
)

// parseCache returns the paths for each library name, in the cache's order.
// Entries for particular processors (hwcap) are left out: there is always a
// plain one, which works everywhere. So is what is malformed in itself.
func parseCache(data []byte) (map[string][]string, error) {
	base := data
	if bytes.HasPrefix(data, []byte(oldCacheMagic)) && len(data) >= oldCacheHeader {
		n := int(binary.NativeEndian.Uint32(data[len(oldCacheMagic):]))
		end := (oldCacheHeader + n*oldCacheEntry + 7) &^ 7
		if n < 0 || n > maxCacheEntries || end > len(data) {
			return nil, errors.New("ld.so.cache: truncated old part")
		}
		// Offsets of the new part count from its own beginning.
		base = data[end:]
	}
	if len(base) < newCacheHeader || !bytes.HasPrefix(base, []byte(newCacheMagic)) {
		return nil, errors.New("ld.so.cache: unknown format")
	}
	count := int(binary.NativeEndian.Uint32(base[len(newCacheMagic):]))
	if count < 0 || count > maxCacheEntries || newCacheHeader+count*newCacheEntry > len(base) {
		return nil, errors.New("ld.so.cache: truncated")
	}
	paths := make(map[string][]string, count)
	for i := range count {
		entry := base[newCacheHeader+i*newCacheEntry:]
		name := cacheString(base, binary.NativeEndian.Uint32(entry[4:]))
		path := cacheString(base, binary.NativeEndian.Uint32(entry[8:]))
		hwcap := binary.NativeEndian.Uint64(entry[16:])
		if name != "" && strings.HasPrefix(path, "/") && hwcap == 0 {
			paths[name] = append(paths[name], path)
		}
	}
	return paths, nil
}

func cacheString(data []byte, at uint32) string {
	if int64(at) >= int64(len(data)) {
		return ""
	}
	rest := data[at:]
	end := bytes.IndexByte(rest[:min(len(rest), maxString)], 0)
	if end < 0 {
		return ""
	}
	return string(rest[:end])
}
