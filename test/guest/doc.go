// Command guest runs tests in a virtual machine whose kernel has control
// groups of version 2 only, as most machines have today and the one that a
// developer sits at may not. `make test-guest` runs it.
//
// It boots a distribution's kernel under QEMU with an initial file system of
// its own: the static binaries of the tests in jobs.go, a small init
// (test/guest/init) that runs them one after the other, and busybox. Nothing
// is installed: packages are downloaded with apt and unpacked in build/guest.
// Without KVM the machine is emulated, ten to twenty times slower, and a run
// takes about a quarter of an hour.
//
// It knows which packages to test, and nothing of what they do.
package main
