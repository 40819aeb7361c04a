package kvm

import (
	"encoding/binary"
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A machine has one processor, which is about to execute a program in 64-bit
// mode, and a little memory.
type machine struct {
	vm, cpu int // descriptors, -1 for none
	memory  []byte
	shared  runPage
}

// newMachine makes a machine. On error nothing is left of it.
func newMachine(kvm int, code []byte) (*machine, error) {
	m := &machine{vm: -1, cpu: -1}
	if err := m.make(kvm, code); err != nil {
		m.close()
		return nil, err
	}
	return m, nil
}

func (m *machine) make(kvm int, code []byte) (err error) {
	version, err := call("ask for the version", kvm, getAPIVersion, 0)
	if err != nil {
		return err
	}
	if version != apiVersion {
		return fmt.Errorf("it speaks version %d of its interface, want %d", version, apiVersion)
	}
	if m.vm, err = call("make a machine", kvm, createVM, 0); err != nil {
		return err
	}
	// Where Intel's may put what they need to emulate real mode: out of the way.
	if _, err := call("place the task state", m.vm, setTSSAddr, tssAddr); err != nil {
		return err
	}
	if m.memory, err = unix.Mmap(-1, 0, memorySize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS); err != nil {
		return fmt.Errorf("allocate memory: %w", err)
	}
	layOut(m.memory, code)
	region := memoryRegion{size: memorySize, address: uint64(uintptr(unsafe.Pointer(&m.memory[0])))}
	if err := callWith("give it memory", m.vm, setUserMemoryRegion, &region); err != nil {
		return err
	}
	return m.addProcessor(kvm)
}

func (m *machine) addProcessor(kvm int) (err error) {
	if m.cpu, err = call("make a processor", m.vm, createVCPU, 0); err != nil {
		return err
	}
	size, err := call("ask for the size of the shared page", kvm, getVCPUMmapSize, 0)
	if err != nil {
		return err
	}
	if m.shared, err = unix.Mmap(m.cpu, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED); err != nil {
		return fmt.Errorf("map the page shared with the processor: %w", err)
	}
	// The guest's processor can what the machine's can: without that it has no
	// 64-bit mode.
	features := cpuid{count: uint32(len(cpuid{}.entries))}
	if err := callWith("ask for the processor's features", kvm, getSupportedCPUID, &features); err != nil {
		return err
	}
	if err := callWith("set the processor's features", m.cpu, setCPUID2, &features); err != nil {
		return err
	}
	var special specialRegisters
	if err := callWith("read the processor's registers", m.cpu, getSregs, &special); err != nil {
		return err
	}
	special.enterLongMode()
	if err := callWith("set the processor to 64-bit mode", m.cpu, setSregs, &special); err != nil {
		return err
	}
	general := registers{rip: codeAt, rsp: stackEnd, rflags: flagAlwaysSet}
	return callWith("set the processor's registers", m.cpu, setRegs, &general)
}

// run lets the processor go on until it leaves the guest.
func (m *machine) run() error {
	_, err := call("run the processor", m.cpu, runVCPU, 0)
	return err
}

// result is what the program has left in memory.
func (m *machine) result() uint64 { return binary.LittleEndian.Uint64(m.memory[resultAt:]) }

func (m *machine) close() {
	if m.shared != nil {
		_ = unix.Munmap(m.shared)
	}
	for _, fd := range []int{m.cpu, m.vm} {
		if fd >= 0 {
			_ = unix.Close(fd)
		}
	}
	if m.memory != nil {
		_ = unix.Munmap(m.memory)
	}
}

func call(what string, fd int, request, argument uintptr) (int, error) {
	n, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), request, argument)
	if errno != 0 {
		return -1, fmt.Errorf("%s: %w", what, errno)
	}
	return int(n), nil
}

func callWith[T any](what string, fd int, request uintptr, argument *T) error {
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), request, uintptr(unsafe.Pointer(argument)))
	if errno != 0 {
		return fmt.Errorf("%s: %w", what, errno)
	}
	return nil
}
