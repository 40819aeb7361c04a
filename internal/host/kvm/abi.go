package kvm

import (
	"encoding/binary"
	"fmt"
	"unsafe"
)

// Requests of KVM (Linux, include/uapi/linux/kvm.h). Those with an argument in
// memory carry its size.
const (
	getAPIVersion   = 0xae00
	createVM        = 0xae01
	getVCPUMmapSize = 0xae04
	createVCPU      = 0xae41
	setTSSAddr      = 0xae47
	runVCPU         = 0xae80

	in, out = 1 << 30, 2 << 30 // _IOW: we write, _IOR: we read

	getSupportedCPUID   = in | out | cpuidHead<<16 | 0xae05
	setUserMemoryRegion = in | unsafe.Sizeof(memoryRegion{})<<16 | 0xae46
	setRegs             = in | unsafe.Sizeof(registers{})<<16 | 0xae82
	getSregs            = out | unsafe.Sizeof(specialRegisters{})<<16 | 0xae83
	setSregs            = in | unsafe.Sizeof(specialRegisters{})<<16 | 0xae84
	setCPUID2           = in | cpuidHead<<16 | 0xae90

	apiVersion = 12
	cpuidHead  = 8 // the size of a list without its entries
	// tssAddr is three pages just below the firmware's, where no memory is.
	tssAddr = 0xfffbd000
)

// memoryRegion is struct kvm_userspace_memory_region.
//
//nolint:unused // the kernel's structure, whole
type memoryRegion struct {
	slot, flags            uint32
	guestAt, size, address uint64
}

// cpuid is struct kvm_cpuid2 with room for more entries than there are.
type cpuid struct {
	count, _ uint32
	entries  [256]struct {
		function, index, flags uint32
		eax, ebx, ecx, edx     uint32
		_                      [3]uint32
	}
}

// registers is struct kvm_regs.
//
//nolint:unused // the kernel's structure, whole
type registers struct {
	rax, rbx, rcx, rdx, rsi, rdi, rsp, rbp uint64
	r8, r9, r10, r11, r12, r13, r14, r15   uint64
	rip, rflags                            uint64
}

// flagAlwaysSet is the bit of rflags that always is.
const flagAlwaysSet = 1 << 1

// segment is struct kvm_segment.
//
//nolint:unused // the kernel's structure, whole
type segment struct {
	base                              uint64
	limit                             uint32
	selector                          uint16
	kind, present, level, db, s, l, g uint8
	available, unusable, _            uint8
}

// table is struct kvm_dtable.
type table struct {
	base  uint64
	limit uint16
	_     [3]uint16
}

// specialRegisters is struct kvm_sregs.
//
//nolint:unused // the kernel's structure, whole
type specialRegisters struct {
	cs, ds, es, fs, gs, ss, tr, ldt segment
	gdt, idt                        table
	cr0, cr2, cr3, cr4, cr8         uint64
	efer, apicBase                  uint64
	interrupts                      [4]uint64
}

// Bits of control registers (Intel's manual, volume 3A, 2.5).
const (
	protected     = 1 << 0  // cr0
	paging        = 1 << 31 // cr0
	numericErrors = 1 << 5  // cr0: processors that virtualize insist on it
	wideAddresses = 1 << 5  // cr4
	vectors       = 1 << 9  // cr4: instructions that use xmm registers
	longEnabled   = 1 << 8  // efer
	longActive    = 1 << 10 // efer
)

// enterLongMode makes the processor one that has been switched to 64-bit mode.
func (r *specialRegisters) enterLongMode() {
	r.cr0 |= protected | numericErrors | paging
	r.cr3 = rootTable
	r.cr4 |= wideAddresses | vectors
	r.efer |= longEnabled | longActive
	r.gdt = table{base: gdtAt, limit: dataSelector + 7}
	r.idt = table{base: idtAt, limit: 16*(invalidOpcode+1) - 1}
	r.cs = segment{limit: 0xffffffff, selector: codeSelector, kind: 11, present: 1, s: 1, l: 1, g: 1}
	data := segment{limit: 0xffffffff, selector: dataSelector, kind: 3, present: 1, db: 1, s: 1, g: 1}
	r.ds, r.es, r.fs, r.gs, r.ss = data, data, data, data, data
}

// A runPage is struct kvm_run: what KVM and we share of a processor.
type runPage []byte

// Places in a runPage.
const (
	immediateExitAt = 1
	exitReasonAt    = 8
	exitDataAt      = 32 // depends on the reason
)

// Reasons for which a processor leaves the guest.
const (
	exitUnknown       = 0
	exitIO            = 2
	exitHalt          = 5
	exitShutdown      = 8
	exitFailEntry     = 9
	exitInternalError = 17

	failedEmulation = 1 // of exitInternalError
)

var exitNames = map[uint32]string{
	exitUnknown: "unknown", 1: "exception", exitIO: "port", 3: "hypercall", 4: "debug", exitHalt: "halt", 6: "access to a device",
	exitShutdown: "shutdown: the guest's exceptions could not be delivered", exitFailEntry: "the processor refuses to enter the guest",
	exitInternalError: "internal error", 24: "system event",
}

var suberrorNames = map[uint32]string{
	failedEmulation: "an instruction could not be emulated", 2: "exceptions at the same time",
	3: "an event could not be delivered", 4: "the processor's reason is not known",
}

// exitAtOnce makes the processor leave the guest as soon as it has entered.
func (p runPage) exitAtOnce() {
	if p != nil {
		p[immediateExitAt] = 1
	}
}

func (p runPage) u32(at int) uint32 { return binary.LittleEndian.Uint32(p[at:]) }
func (p runPage) reason() uint32    { return p.u32(exitReasonAt) }

// told returns what the guest has written to a port, if that is why it came
// back: 4 bytes, once.
func (p runPage) told(port uint16) (uint32, bool) {
	const write, size = 1, 4
	d := p[exitDataAt:]
	at := binary.LittleEndian.Uint64(d[8:])
	if p.reason() != exitIO || d[0] != write || d[1] != size || binary.LittleEndian.Uint16(d[2:]) != port ||
		p.u32(exitDataAt+4) != 1 || at > uint64(len(p)-size) {
		return 0, false
	}
	return p.u32(int(at)), true
}

// describe tells why the processor has left the guest.
func (p runPage) describe() string {
	name, ok := exitNames[p.reason()]
	if !ok {
		name = "unexpected"
	}
	text := fmt.Sprintf("exit reason %d (%s)", p.reason(), name)
	switch p.reason() {
	case exitUnknown, exitFailEntry:
		text += fmt.Sprintf(", hardware's reason %#x", binary.LittleEndian.Uint64(p[exitDataAt:]))
	case exitInternalError:
		text += p.describeInternal()
	}
	return text
}

// describeInternal reads the structs internal and emulation_failure.
func (p runPage) describeInternal() string {
	suberror := p.u32(exitDataAt)
	text := fmt.Sprintf(", suberror %d", suberror)
	if name, ok := suberrorNames[suberror]; ok {
		text += " (" + name + ")"
	}
	const hasBytes = 1 << 0
	d := p[exitDataAt:]
	if suberror == failedEmulation && p.u32(exitDataAt+4) >= 3 && d[8]&hasBytes != 0 && d[16] <= 15 {
		text += fmt.Sprintf(": % x", []byte(d[17:17+d[16]]))
	}
	return text
}
