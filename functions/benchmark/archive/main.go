// Command archive makes the file that the benchmark function reads and
// unpacks: a ZIP archive of 10 files of 5 MiB of random bytes.
package main

import (
	"bufio"
	"fmt"
	"os"

	"github.com/unifaas/unifaas/functions/benchmark/workload"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: archive FILE")
		os.Exit(2)
	}
	if err := write(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "archive:", err)
		os.Exit(1)
	}
}

// write puts the archive in place whole or not at all.
func write(path string) error {
	f, err := os.Create(path + ".new")
	if err != nil {
		return err
	}
	defer os.Remove(path + ".new")
	defer f.Close()
	w := bufio.NewWriter(f)
	if err := workload.WriteArchive(w, 10, 5<<20); err != nil {
		return err
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}
