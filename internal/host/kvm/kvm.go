// Package kvm finds out whether KVM can run virtual machines here, by running
// one. That /dev/kvm opens and makes machines is no proof: inside some virtual
// machines it does both and then runs nothing, or only guests that were made
// for it, by emulating every instruction of a system that was not.
//
// It must not know any machine monitor, nor what is done without KVM.
package kvm

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// device is KVM's (Linux, Documentation/virt/kvm/api.rst).
const device = "/dev/kvm"

const (
	// runTime is what the guest has to end, and its machine to be made: all of
	// that takes a few milliseconds on a processor, 100 to 600 where the
	// processor itself is emulated, and more there while it has other work.
	runTime = 4 * time.Second
	// returnTime is what an interrupted guest has to come back.
	returnTime = time.Second
)

// A Stage is how far KVM has come.
type Stage int

// The stages at which KVM can fail.
const (
	Missing   Stage = iota + 1 // there is no KVM
	Forbidden                  // this process may not use it
	NoMachine                  // it opens, but makes no machines
	NoGuest                    // it makes machines, but does not run what is in them
)

// An Unusable says why KVM can't be used.
type Unusable struct {
	Stage  Stage
	Reason string // what was seen
	Remedy string // what would change that; "" when nothing is known
	Err    error  // the kernel's, if it has given one
}

func (u *Unusable) Error() string {
	if u.Remedy == "" {
		return u.Reason
	}
	return u.Reason + "; " + u.Remedy
}

// Unwrap returns the kernel's error.
func (u *Unusable) Unwrap() error { return u.Err }

// Usable returns nil if KVM runs 64-bit code in a machine of its own here, else
// an [*Unusable]. It answers within 1.2 seconds, whatever KVM does, and
// leaves nothing behind. If ctx ends first, it returns ctx's error.
func Usable(ctx context.Context) error { return usable(ctx, device, program) }

func usable(ctx context.Context, path string, code []byte) error {
	// O_CLOEXEC is os.OpenFile's own.
	kvm, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return unopened(path, err)
	}
	a := &attempt{kvm: kvm, done: make(chan error, 1)}
	go a.make(code)
	return a.await(ctx)
}

func unopened(path string, err error) *Unusable {
	u := &Unusable{Err: err}
	switch {
	case errors.Is(err, fs.ErrPermission):
		u.Stage = Forbidden
		u.Reason = path + " can't be opened: this user may not"
		u.Remedy = "put the user into the device's group (usermod -aG kvm USER), and log in again; in a container, allow the device"
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, unix.ENODEV), errors.Is(err, unix.ENXIO):
		u.Stage = Missing
		u.Reason = "there is no " + path
		u.Remedy = "load the module (modprobe kvm_intel, or kvm_amd); virtualization must be on in the firmware or, in a virtual machine, given to it by its host"
	default:
		u.Stage = Missing
		u.Reason = err.Error()
	}
	return u
}
