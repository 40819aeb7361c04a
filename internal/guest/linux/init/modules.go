package main

import (
	"errors"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/unifaas/unifaas/internal/guest/linux/plan"
)

// loadModules loads the kernel's modules that the initial file system has.
func loadModules() error {
	entries, err := os.ReadDir(plan.Modules) // in the order of their names
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := load(plan.Modules + "/" + e.Name()); err != nil {
			return fail("load module "+e.Name(), err)
		}
	}
	return nil
}

// load loads a module; one that is there already is no error.
func load(path string) error {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	err = unix.FinitModule(fd, "", 0)
	_ = unix.Close(fd)
	if errors.Is(err, unix.EEXIST) {
		return nil
	}
	return err
}

// addEntropy adds seed to the kernel's random numbers (random(4)).
func (m *machine) addEntropy(seed []byte) error {
	const most = 512
	seed = seed[:min(len(seed), most)]
	// struct rand_pool_info
	var request struct {
		bits, size int32
		seed       [most]byte
	}
	request.bits, request.size = int32(len(seed)*8), int32(len(seed))
	copy(request.seed[:], seed)
	if err := ioctl(m.random, unix.RNDADDENTROPY, unsafe.Pointer(&request)); err != nil {
		return err
	}
	return ioctl(m.random, unix.RNDRESEEDCRNG, nil)
}
