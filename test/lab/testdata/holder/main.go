// Command holder holds as many bytes of memory as its argument says, until it
// is killed.
package main

import (
	"os"
	"strconv"
	"syscall"
)

func main() {
	n, err := strconv.Atoi(os.Args[1])
	if err != nil {
		os.Exit(1)
	}
	held, err := syscall.Mmap(-1, 0, n, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
	if err != nil {
		os.Exit(1)
	}
	for i := 0; i < n; i += 4096 {
		held[i] = 1
	}
	_ = syscall.Pause()
}
