package seccomp

import (
	"encoding/binary"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

// run interprets a program as the kernel does, for the few instructions that
// programs of this package have.
func run(program []unix.SockFilter, arch, number uint32, args [6]uint64) (uint32, error) {
	data := make([]byte, argsOffset)
	binary.NativeEndian.PutUint32(data[numberOffset:], number)
	binary.NativeEndian.PutUint32(data[archOffset:], arch)
	for _, a := range args {
		data = binary.NativeEndian.AppendUint64(data, a)
	}
	var acc uint32
	for pc := 0; pc < len(program); pc++ {
		i := program[pc]
		test := func(holds bool) {
			if holds {
				pc += int(i.Jt)
			} else {
				pc += int(i.Jf)
			}
		}
		switch i.Code {
		case unix.BPF_LD | unix.BPF_W | unix.BPF_ABS:
			acc = binary.NativeEndian.Uint32(data[i.K:])
		case unix.BPF_ALU | unix.BPF_AND | unix.BPF_K:
			acc &= i.K
		case unix.BPF_RET | unix.BPF_K:
			return i.K, nil
		case unix.BPF_JMP | unix.BPF_JA:
			pc += int(i.K)
		case unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K:
			test(acc == i.K)
		case unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K:
			test(acc >= i.K)
		case unix.BPF_JMP | unix.BPF_JGT | unix.BPF_K:
			test(acc > i.K)
		default:
			return 0, fmt.Errorf("instruction %d: unknown code %#x", pc, i.Code)
		}
	}
	return 0, fmt.Errorf("the program runs off its end")
}

// want reads the filter itself, rule by rule.
func want(filter *specs.LinuxSeccomp, name string, args [6]uint64) uint32 {
	value, _ := verdict(filter.DefaultAction, filter.DefaultErrnoRet)
	found := false
	for _, entry := range filter.Syscalls {
		if !slices.Contains(entry.Names, name) {
			continue
		}
		v, _ := verdict(entry.Action, entry.ErrnoRet)
		if len(entry.Args) == 0 {
			return v
		}
		if !found && fits(entry.Args, args) {
			value, found = v, true
		}
	}
	return value
}

func fits(rules []specs.LinuxSeccompArg, args [6]uint64) bool {
	for _, r := range rules {
		a := args[r.Index]
		ok := map[specs.LinuxSeccompOperator]bool{
			specs.OpEqualTo: a == r.Value, specs.OpNotEqual: a != r.Value, specs.OpMaskedEqual: a&r.Value == r.ValueTwo,
			specs.OpGreaterThan: a > r.Value, specs.OpGreaterEqual: a >= r.Value,
			specs.OpLessThan: a < r.Value, specs.OpLessEqual: a <= r.Value,
		}[r.Op]
		if !ok {
			return false
		}
	}
	return true
}

var operators = []specs.LinuxSeccompOperator{
	specs.OpEqualTo, specs.OpNotEqual, specs.OpMaskedEqual, specs.OpGreaterThan, specs.OpGreaterEqual, specs.OpLessThan, specs.OpLessEqual,
}

// values are where comparisons of halves go wrong.
var values = []uint64{0, 1, 2, 3, 1 << 31, 1<<32 - 1, 1 << 32, 1<<32 + 1, 1<<33 + 2, 1 << 63, 1<<64 - 1}

func drawFilter(t *rapid.T, names []string) *specs.LinuxSeccomp {
	filter := &specs.LinuxSeccomp{DefaultAction: specs.ActErrno}
	always := map[string]bool{}
	for range rapid.IntRange(0, 60).Draw(t, "entries") {
		var entry specs.LinuxSyscall
		entry.Action = rapid.SampledFrom([]specs.LinuxSeccompAction{specs.ActAllow, specs.ActErrno, specs.ActKillProcess, specs.ActLog}).Draw(t, "action")
		code := rapid.UintRange(1, 99).Draw(t, "errno")
		entry.ErrnoRet = &code
		for range rapid.IntRange(0, 3).Draw(t, "conditions") {
			entry.Args = append(entry.Args, specs.LinuxSeccompArg{
				Index: rapid.UintRange(0, 5).Draw(t, "index"), Op: rapid.SampledFrom(operators).Draw(t, "op"),
				Value: rapid.SampledFrom(values).Draw(t, "value"), ValueTwo: rapid.SampledFrom(values).Draw(t, "second"),
			})
		}
		for _, name := range rapid.SliceOfN(rapid.SampledFrom(names), 1, 20).Draw(t, "names") {
			if len(entry.Args) > 0 || !always[name] {
				entry.Names = append(entry.Names, name)
			}
			always[name] = always[name] || len(entry.Args) == 0
		}
		filter.Syscalls = append(filter.Syscalls, entry)
	}
	return filter
}

// TestProgramsDoWhatTheirFilterSays compares any filter with its program.
func TestProgramsDoWhatTheirFilterSays(t *testing.T) {
	info := architectures[runtime.GOARCH]
	var names []string
	for name := range info.SyscallNames {
		names = append(names, name)
	}
	slices.Sort(names)
	rapid.Check(t, func(t *rapid.T) {
		filter := drawFilter(t, names)
		program, err := Compile(filter)
		if err != nil {
			t.Fatal(err)
		}
		highest := -1
		for _, entry := range filter.Syscalls {
			for _, name := range entry.Names {
				highest = max(highest, info.SyscallNames[name])
			}
		}
		for range 50 {
			name := rapid.SampledFrom(names).Draw(t, "call")
			var args [6]uint64
			for i := range args {
				args[i] = rapid.SampledFrom(values).Draw(t, "arg")
			}
			expect := want(filter, name, args)
			if info.SyscallNames[name] > highest {
				expect = unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)
			}
			got, err := run(program, uint32(info.ID), uint32(info.SyscallNames[name]), args)
			if err != nil || got != expect {
				t.Fatalf("%s%v: got %#x, %v; want %#x", name, args, got, err, expect)
			}
		}
	})
}

func TestForeignArchitecture(t *testing.T) {
	program, err := Compile(&specs.LinuxSeccomp{DefaultAction: specs.ActAllow})
	if err != nil {
		t.Fatal(err)
	}
	for _, info := range architectures {
		got, err := run(program, uint32(info.ID), 0, [6]uint64{})
		if native := info == architectures[runtime.GOARCH]; err != nil || native == (got == unix.SECCOMP_RET_KILL_PROCESS) {
			t.Errorf("%s: got %#x, %v", info.Name, got, err)
		}
	}
	const x32Bit = 0x40000000
	if got, err := run(program, uint32(architectures[runtime.GOARCH].ID), x32Bit, [6]uint64{}); err != nil || got != unix.SECCOMP_RET_ERRNO|uint32(unix.ENOSYS) {
		t.Errorf("a call of the x32 interface: got %#x, %v", got, err)
	}
}

func TestCompileErrors(t *testing.T) {
	with := func(entries ...specs.LinuxSyscall) *specs.LinuxSeccomp {
		return &specs.LinuxSeccomp{DefaultAction: specs.ActErrno, Syscalls: entries}
	}
	for _, c := range []struct {
		filter *specs.LinuxSeccomp
		want   string
	}{
		{&specs.LinuxSeccomp{DefaultAction: specs.ActNotify}, "SCMP_ACT_NOTIFY"},
		{with(specs.LinuxSyscall{Names: []string{"read"}, Action: specs.ActTrace}), "SCMP_ACT_TRACE"},
		{with(specs.LinuxSyscall{Names: []string{"read"}, Action: specs.ActAllow},
			specs.LinuxSyscall{Names: []string{"read"}, Action: specs.ActErrno}), "two different actions"},
		{with(specs.LinuxSyscall{Names: []string{"read"}, Action: specs.ActAllow, Args: []specs.LinuxSeccompArg{{Index: 6, Op: specs.OpEqualTo}}}), "no argument 6"},
		{with(specs.LinuxSyscall{Names: []string{"read"}, Action: specs.ActAllow, Args: []specs.LinuxSeccompArg{{Op: "?"}}}), "not supported"},
	} {
		if _, err := Compile(c.filter); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("got %v, want an error with %q", err, c.want)
		}
	}
	if _, err := Compile(with(specs.LinuxSyscall{Names: []string{"no_such_call"}, Action: specs.ActAllow})); err != nil {
		t.Errorf("a call that this machine does not have: %v", err)
	}
}
