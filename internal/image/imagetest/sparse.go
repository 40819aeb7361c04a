package imagetest

import (
	"bytes"
	"fmt"
	"strconv"
)

// Sparse returns an archive of one file of the given size without any data, in
// GNU tar's format 1.0 for PAX archives, which package tar reads only. It has
// a few kilobytes, whatever the size.
func Sparse(size int64) []byte {
	var b bytes.Buffer
	pax := paxRecord("GNU.sparse.major", "1") + paxRecord("GNU.sparse.minor", "0") +
		paxRecord("GNU.sparse.name", "sparse") + paxRecord("GNU.sparse.realsize", strconv.FormatInt(size, 10))
	b.Write(rawHeader("PaxHeaders/sparse", 'x', int64(len(pax))))
	b.WriteString(pax)
	b.Write(make([]byte, 512-len(pax)%512))
	content := fmt.Sprintf("1\n%d\n0\n", size) // one empty fragment, at the end
	b.Write(rawHeader("GNUSparseFile/sparse", '0', 512))
	b.WriteString(content)
	b.Write(make([]byte, 512-len(content)))
	b.Write(make([]byte, 1024))
	return b.Bytes()
}

// paxRecord writes a record of a PAX header: its own length comes first.
func paxRecord(key, value string) string {
	rest := " " + key + "=" + value + "\n"
	size := len(rest)
	for size != len(strconv.Itoa(size))+len(rest) {
		size = len(strconv.Itoa(size)) + len(rest)
	}
	return strconv.Itoa(size) + rest
}

// rawHeader writes a header of the USTAR format.
func rawHeader(name string, typeflag byte, size int64) []byte {
	b := make([]byte, 512)
	copy(b, name)
	copy(b[100:], "0000644\x000000000\x000000000\x00")
	copy(b[124:], fmt.Sprintf("%011o\x0000000000000\x00        ", size))
	b[156] = typeflag
	copy(b[257:], "ustar\x0000")
	sum := 0
	for _, c := range b {
		sum += int(c)
	}
	copy(b[148:], fmt.Sprintf("%06o\x00 ", sum))
	return b
}
