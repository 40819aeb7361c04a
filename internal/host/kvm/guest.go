package kvm

import "encoding/binary"

// Where things are in the machine's memory. The first page stays empty: what
// goes astray ends there.
const (
	rootTable  = 0x1000 // page tables, one of each level
	thirdTable = 0x2000
	midTable   = 0x3000
	pageTable  = 0x4000
	gdtAt      = 0x5000 // segment descriptors
	idtAt      = 0x5800 // exception handlers
	codeAt     = 0x6000
	handlerAt  = 0x6800
	dataAt     = 0x7000
	resultAt   = dataAt + 8
	stackEnd   = 0x9000
	memorySize = 0x10000

	pageSize = 0x1000
	// aliasAt is a second virtual address of the data.
	aliasAt = 0x100000
)

// program is what the guest executes. It computes with 64-bit numbers, writes
// through one virtual address and reads through another, uses its stack, has an
// exception, and executes an instruction that KVM does itself, one that it
// passes on to us, and one that ends the guest's activity. Its xmm registers are
// for a KVM that emulates systems without the processor's help: all the rest is
// in KVM's emulator, which does not have those instructions, but every 64-bit
// processor does.
var program = []byte{
	0x48, 0xc7, 0xc3, 0x00, 0x00, 0x10, 0x00, // mov rbx, aliasAt
	0x48, 0xb8, 0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11, // mov rax, 0x1122334455667788
	0x48, 0x89, 0x03, // mov [rbx], rax
	0x48, 0x8b, 0x0c, 0x25, 0x00, 0x70, 0x00, 0x00, // mov rcx, [dataAt]
	0x51,                         // push rcx
	0x5f,                         // pop rdi
	0xbe, 0x64, 0x00, 0x00, 0x00, // mov esi, 100
	0x48, 0x01, 0xf7, // again: add rdi, rsi
	0xff, 0xce, // dec esi
	0x75, 0xf9, // jnz again
	0x0f, 0x0b, // ud2: to the handler, and back
	0x66, 0x48, 0x0f, 0x6e, 0xc7, // movq xmm0, rdi
	0x66, 0x0f, 0xd4, 0xc0, // paddq xmm0, xmm0
	0x66, 0x48, 0x0f, 0x7e, 0xc7, // movq rdi, xmm0
	0x31, 0xc0, // xor eax, eax
	0x0f, 0xa2, // cpuid
	0x48, 0x89, 0x3c, 0x25, 0x08, 0x70, 0x00, 0x00, // mov [resultAt], rdi
	0x89, 0xf8, // mov eax, edi
	0xba, 0x10, 0x00, 0x00, 0x00, // mov edx, tellPort
	0xef, // out dx, eax
	0xf4, // hlt
}

// handler is what the guest executes for an instruction that does not exist.
var handler = []byte{
	0x48, 0x83, 0xc7, 0x01, // add rdi, 1
	0x48, 0x83, 0x04, 0x24, 0x02, // add qword [rsp], 2: go on behind the instruction
	0x48, 0xcf, // iretq
}

const (
	tellPort = 0x10
	// wantResult is twice the sum of the program's number, of 1 to 100, and of
	// the handler's 1.
	wantResult = 2 * (0x1122334455667788 + 5050 + 1)
)

// Bits of a page table's entry, and of a segment descriptor (Intel's manual,
// volume 3A, 4.5 and 3.4.5; AMD's, volume 2, 5.3 and 4.8).
const (
	pagePresent  = 1 << 0
	pageWritable = 1 << 1

	codeDescriptor = 0x00209b0000000000 // 64-bit code, present, read and executed
	dataDescriptor = 0x0000930000000000 // data, present, written
	gateDescriptor = 0x00008e0000000000 // interrupt gate, present
	codeSelector   = 1 << 3
	dataSelector   = 2 << 3

	invalidOpcode = 6 // the exception
)

// layOut puts everything that the guest needs into its memory: each page is
// where its virtual address says, and the data has another address as well.
func layOut(memory, code []byte) {
	put := func(at int, value uint64) { binary.LittleEndian.PutUint64(memory[at:], value) }
	const usual = pagePresent | pageWritable
	put(rootTable, thirdTable|usual)
	put(thirdTable, midTable|usual)
	put(midTable, pageTable|usual)
	for page := range memorySize / pageSize {
		put(pageTable+8*page, uint64(page*pageSize)|usual)
	}
	put(pageTable+8*(aliasAt/pageSize), dataAt|usual)
	put(gdtAt+codeSelector, codeDescriptor)
	put(gdtAt+dataSelector, dataDescriptor)
	put(idtAt+16*invalidOpcode, handlerAt&0xffff|codeSelector<<16|gateDescriptor)
	copy(memory[codeAt:handlerAt], code)
	copy(memory[handlerAt:dataAt], handler)
}

// steps are what must be found each time that the guest comes back.
var steps = []func(*machine) error{wantTold, wantHalt}

func wantTold(m *machine) error {
	told, ok := m.shared.told(tellPort)
	if !ok {
		return unrunnable("%s", m.shared.describe())
	}
	if got := m.result(); got != wantResult || told != wantResult&0xffffffff {
		return unrunnable("the guest computed %#x and told %#x, want %#x", got, told, uint64(wantResult))
	}
	return nil
}

func wantHalt(m *machine) error {
	if m.shared.reason() != exitHalt {
		return unrunnable("%s", m.shared.describe())
	}
	return nil
}
