package workload

import (
	"archive/zip"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
)

// page is the smallest size of a page of memory on Linux.
const page = 4096

// Alloc allocates mib MiB, touches every page and returns the bytes touched.
func Alloc(mib int64) int64 {
	var touched int64
	blocks := make([][]byte, 0, mib)
	for range mib {
		block := make([]byte, 1<<20)
		for i := 0; i < len(block); i += page {
			block[i] = 0xff
			touched += page
		}
		blocks = append(blocks, block)
	}
	runtime.KeepAlive(blocks) // all of them are to be there at once
	return touched
}

// Read reads the file at path into memory and returns its size.
func Read(path string) (int, error) {
	data, err := os.ReadFile(path)
	return len(data), err
}

// Unzip unpacks the archive at path into a temporary folder, removes that
// again and returns the number of bytes that were unpacked.
func Unzip(path string) (total int64, err error) {
	archive, err := zip.OpenReader(path)
	if err != nil {
		return 0, fmt.Errorf("open archive %q: %w", path, err)
	}
	defer archive.Close()
	dir, err := os.MkdirTemp("", "unzip")
	if err != nil {
		return 0, err
	}
	defer func() {
		if rerr := os.RemoveAll(dir); err == nil {
			err = rerr
		}
	}()
	for _, file := range archive.File {
		n, err := unpack(file, dir)
		if err != nil {
			return 0, fmt.Errorf("unpack %q: %w", file.Name, err)
		}
		total += n
	}
	return total, nil
}

func unpack(file *zip.File, dir string) (int64, error) {
	if !filepath.IsLocal(file.Name) {
		return 0, fmt.Errorf("its name leads out of the archive")
	}
	from, err := file.Open()
	if err != nil {
		return 0, err
	}
	defer from.Close()
	to, err := os.Create(filepath.Join(dir, filepath.Base(file.Name)))
	if err != nil {
		return 0, err
	}
	n, err := io.Copy(to, from)
	if cerr := to.Close(); err == nil {
		err = cerr
	}
	return n, err
}
