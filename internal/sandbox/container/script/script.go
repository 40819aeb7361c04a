// Package script is what the container driver has its launcher do: a list of
// system calls, carried out by a process that was forked a moment ago.
//
// A process forked from a Go program must not run Go code as it is usually
// written: the threads that the runtime counts on are not there. Starting a
// program instead takes longer than all that an instance needs doing. What can
// be done without the runtime is system calls, one after another, with
// arguments that are known beforehand or come from the calls before. So the
// driver writes them down once for a revision, and each instance's first
// process has nothing to do but to make them. As in a seccomp filter, there
// are registers, comparisons and jumps, and memory where the writer put it.
//
// The package imports next to nothing: it is compiled into the launcher, too.
package script

import "unsafe"

// Base is the address at which a script is mapped, private to its process, so
// that it can hold addresses of its own parts. It is where no architecture of
// 39 bits of addresses or more puts anything: above programs, and below Go's
// heap and the kernel's mappings.
const Base = 0x10_0000_0000

// MaxSize bounds a script, in bytes.
const MaxSize = 16 << 20

// Registers is how many registers there are. A process begins with zeros.
const Registers = 16

// A Do says what an operation is.
type Do uint8

const (
	// Call makes a system call and puts its result into a register.
	Call Do = iota
	// Equal jumps to Target if its first two arguments are equal.
	Equal
	// Store writes its second argument, 8 bytes, to the address that the first
	// is.
	Store
	// Fail ends the process with its first argument as the error's number.
	Fail
)

// A Kind says what an argument's number is.
type Kind uint8

const (
	Value    Kind = iota // itself
	Register             // a register's number: what that holds
	Load                 // an address: the 4 bytes there
	Title                // an offset: the address in the process's title
)

// CatchAny is a Catch that all errors match.
const CatchAny = 1<<32 - 1

// An Op is one operation. Its layout is the form of a script: both sides are
// compiled by one compiler for one machine.
type Op struct {
	Args   [6]uint64
	Trap   uint32 // the system call's number
	Catch  uint32 // an errno that is no failure: its number is put into Result, and Target comes next
	Target uint32 // an index of an operation
	Do     Do
	Result uint8 // a register's number
	Kinds  [6]Kind
	_      [4]uint8
}

// OpSize is the size of an [Op] in bytes.
const OpSize = unsafe.Sizeof(Op{})

// Descriptors of the process that carries a script out.
const (
	OutputFD = 1 // and 2
	// GateFD is a socket of sequenced packets, of the platform's. A process
	// ends when it does.
	GateFD = 3
	// StatusFD is a file to which the function's wait status is written, four
	// bytes of the machine's order, when it has ended.
	StatusFD = 4
	// DialFD is a listening unix socket of sequenced packets, of instances
	// that hand out sockets. Whoever connects gets one TCP socket, made inside.
	DialFD = 5
)

// First bytes of what a process answers through the gate.
const (
	// Done says that the script got as far as it should.
	Done = 1
	// Failed is followed by the index of the operation that failed and its
	// errno, 4 bytes each, of the machine's order.
	Failed = 2
	// FailedSize is the size of such an answer.
	FailedSize = 9
)

// NoOp stands, in place of an operation's index, for what the launcher does
// before the first.
const NoOp = 1<<32 - 1

// Name is the first word of a process's title (/proc/PID/cmdline), the only
// one of the launcher's itself; the second is the instance's name, of at most
// MaxID bytes.
const (
	Name  = "unifaas-container"
	MaxID = 64
)

// ProbeStatus is what the launcher exits with when nobody gave it a socket:
// inside a container, as the program of a probe.
const ProbeStatus = 42

// RequestFD is the launcher's end of a socket of sequenced packets, by which it
// gets a [Request] for each process and answers with a [Reply]. It ends when
// the socket does.
const RequestFD = 3

// MaxFiles is how many files come with a request at most: the script, the
// folder of a control group, a file for each hierarchy of version 1, and
// those that are to be descriptors 1, 2, ... of the process.
const MaxFiles = 32

// A Request asks for one process. Its files come along (SCM_RIGHTS), in the
// order of its fields.
type Request struct {
	Flags uint64 // of clone(2)
	Size  uint64 // of the script in bytes
	Start uint64 // where in the script the operations begin
	// Unified says whether a folder of the version 2 hierarchy comes along, in
	// which the process is to be born.
	Unified uint32
	// Tasks is how many files of version 1 hierarchies come along that the
	// process writes itself into.
	Tasks uint32
}

// A Reply is the answer to a [Request].
type Reply struct {
	Pid   uint32
	Errno uint32 // 0 if there is a process
}

// Sizes of what goes through the launcher's socket, in bytes.
const (
	RequestSize = int(unsafe.Sizeof(Request{}))
	ReplySize   = int(unsafe.Sizeof(Reply{}))
)
