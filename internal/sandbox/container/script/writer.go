package script

import (
	"encoding/binary"
	"unsafe"
)

// A Program is a script and what its operations are for.
type Program struct {
	Memory []byte // to be mapped at [Base]
	Start  uint64 // where in Memory the operations begin
	// Steps has what each operation is a part of, in words for an error.
	Steps []string
}

// An Arg is an argument of an operation.
type Arg struct {
	kind   Kind
	number uint64
}

// Number is an argument that is known.
func Number[T ~int | ~int64 | ~uint32 | ~uint64 | ~uintptr](n T) Arg { return Arg{Value, uint64(n)} }

// Reg is what a register holds when the operation comes.
func Reg(r uint8) Arg { return Arg{Register, uint64(r)} }

// TitleAt is the address of a byte of the process's title, behind its first
// word.
func TitleAt(offset uint64) Arg { return Arg{Title, offset} }

// An Addr is the address of data. Its zero value is no address.
type Addr uint64

// Arg is the address itself.
func (a Addr) Arg() Arg { return Arg{Value, uint64(a)} }

// Load is the four bytes at the address when the operation comes.
func (a Addr) Load() Arg { return Arg{Load, uint64(a)} }

// A Label is a place in a script, of which operations before it may know.
type Label struct{ name int }

// A Writer writes a script: operations in their order, and data for them. It
// is not for concurrent use.
type Writer struct {
	ops    []Op
	steps  []string
	step   string
	labels []uint32 // by name: an index of an operation
	data   []byte
}

// Step names what the operations that follow are for.
func (w *Writer) Step(name string) { w.step = name }

// Label makes a label that is put somewhere later.
func (w *Writer) Label() Label {
	w.labels = append(w.labels, NoOp)
	return Label{len(w.labels) - 1}
}

// Put makes l the label of the operation that comes next.
func (w *Writer) Put(l Label) { w.labels[l.name] = uint32(len(w.ops)) }

// Here is the label of the operation that comes next.
func (w *Writer) Here() Label {
	l := w.Label()
	w.Put(l)
	return l
}

func (w *Writer) add(op Op, args []Arg) *Op {
	for i, a := range args {
		op.Args[i], op.Kinds[i] = a.number, a.kind
	}
	w.ops, w.steps = append(w.ops, op), append(w.steps, w.step)
	return &w.ops[len(w.ops)-1]
}

// scratch is the register of results that nobody asks for.
const scratch = Registers - 1

// Call makes a system call.
func (w *Writer) Call(trap uint32, args ...Arg) { w.CallTo(scratch, trap, args...) }

// CallTo makes a system call and puts its result into a register.
func (w *Writer) CallTo(result uint8, trap uint32, args ...Arg) {
	w.add(Op{Do: Call, Trap: trap, Result: result}, args)
}

// Catch makes the system call before it go on at l if it fails with errno.
func (w *Writer) Catch(errno uint32, l Label) {
	op := &w.ops[len(w.ops)-1]
	op.Catch, op.Target = errno, uint32(l.name)
}

// Ignore makes the system call before it one that may fail.
func (w *Writer) Ignore() { w.Catch(CatchAny, w.Here()) }

// Jump goes on at l.
func (w *Writer) Jump(l Label) { w.JumpIf(Number(0), Number(0), l) }

// JumpIf goes on at l if a and b are the same.
func (w *Writer) JumpIf(a, b Arg, l Label) {
	w.add(Op{Do: Equal}, []Arg{a, b}).Target = uint32(l.name)
}

// Store writes v, 8 bytes, to an address.
func (w *Writer) Store(to Addr, v Arg) { w.add(Op{Do: Store}, []Arg{to.Arg(), v}) }

// Fail ends the process with an errno; 0 where the step's name says all.
func (w *Writer) Fail(errno Arg) { w.add(Op{Do: Fail}, []Arg{errno}) }

// Bytes puts data into the script, aligned to 8 bytes.
func (w *Writer) Bytes(b []byte) Addr {
	w.align()
	at := Base + len(w.data)
	w.data = append(w.data, b...)
	return Addr(at)
}

func (w *Writer) align() {
	for len(w.data)%8 != 0 {
		w.data = append(w.data, 0)
	}
}

// String puts a string of C into the script.
func (w *Writer) String(s string) Addr { return w.Bytes(append([]byte(s), 0)) }

// Words puts numbers of 8 bytes into the script.
func (w *Writer) Words(words ...uint64) Addr {
	b := make([]byte, 0, 8*len(words))
	for _, n := range words {
		b = binary.NativeEndian.AppendUint64(b, n)
	}
	return w.Bytes(b)
}

// Strings puts a list of strings into the script, as execve(2) wants it.
func (w *Writer) Strings(all []string) Addr {
	list := make([]uint64, 0, len(all)+1)
	for _, s := range all {
		list = append(list, uint64(w.String(s)))
	}
	return w.Words(append(list, 0)...)
}

// A SizeError says that there is no room for so much.
type SizeError struct{}

func (SizeError) Error() string { return "its command line and environment are too large" }

// Program returns what was written. A label that was put nowhere is a mistake
// of the caller's, and a panic.
func (w *Writer) Program() (*Program, error) {
	for i := range w.ops {
		op := &w.ops[i]
		if op.Do == Equal || op.Catch != 0 {
			if op.Target = w.labels[op.Target]; op.Target == NoOp {
				panic("script: a label of the step " + w.steps[i] + " was put nowhere")
			}
		}
	}
	w.align()
	start := len(w.data)
	memory := append(w.data, unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(w.ops))), len(w.ops)*int(OpSize))...)
	if len(memory) > MaxSize {
		return nil, SizeError{}
	}
	return &Program{Memory: memory, Start: uint64(start), Steps: w.steps}, nil
}
