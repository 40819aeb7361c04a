package seccomp

import (
	"fmt"
	"runtime"
	"slices"

	"github.com/elastic/go-seccomp-bpf/arch"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// maxProgram is the kernel's limit of instructions (BPF_MAXINSNS).
const maxProgram = 4096

// Offsets in struct seccomp_data.
const (
	numberOffset = 0
	archOffset   = 4
	argsOffset   = 16
)

var architectures = map[string]*arch.Info{
	"amd64": arch.X86_64, "arm64": arch.AARCH64, "386": arch.I386, "arm": arch.ARM,
}

// Compile returns the program of filter for this build's architecture. Names
// of system calls that the architecture does not have are passed over. It
// fails for what it can't express: actions that need a supervisor, two
// actions for one call.
func Compile(filter *specs.LinuxSeccomp) ([]unix.SockFilter, error) {
	info := architectures[runtime.GOARCH]
	if info == nil {
		return nil, fmt.Errorf("compile seccomp filter: no system call table for %s", runtime.GOARCH)
	}
	otherwise, err := verdict(filter.DefaultAction, filter.DefaultErrnoRet)
	if err != nil {
		return nil, fmt.Errorf("compile seccomp filter: default action: %w", err)
	}
	calls, err := sortCalls(filter, info)
	if err != nil {
		return nil, fmt.Errorf("compile seccomp filter: %w", err)
	}
	program := []unix.SockFilter{
		load(archOffset),
		jump(unix.BPF_JEQ, uint32(info.ID), 1, 0),
		ret(unix.SECCOMP_RET_KILL_PROCESS),
		load(numberOffset),
	}
	program = append(program, tree(segments(calls, otherwise))...)
	if len(program) > maxProgram {
		return nil, fmt.Errorf("compile seccomp filter: %d instructions, the kernel takes %d", len(program), maxProgram)
	}
	return program, nil
}

// verdict returns the value that a program returns for an action.
func verdict(action specs.LinuxSeccompAction, errno *uint) (uint32, error) {
	switch action {
	case specs.ActAllow:
		return unix.SECCOMP_RET_ALLOW, nil
	case specs.ActErrno:
		code := uint(unix.EPERM)
		if errno != nil {
			code = *errno
		}
		return unix.SECCOMP_RET_ERRNO | uint32(code)&unix.SECCOMP_RET_DATA, nil
	case specs.ActKill, specs.ActKillThread:
		return unix.SECCOMP_RET_KILL_THREAD, nil
	case specs.ActKillProcess:
		return unix.SECCOMP_RET_KILL_PROCESS, nil
	case specs.ActTrap:
		return unix.SECCOMP_RET_TRAP, nil
	case specs.ActLog:
		return unix.SECCOMP_RET_LOG, nil
	default:
		return 0, fmt.Errorf("action %q is not supported", action)
	}
}

// A call is what the filter says of one system call: one verdict for all of
// its uses, or a verdict for those whose arguments fit a rule.
type call struct {
	number  uint32
	always  bool
	verdict uint32
	rules   []rule
}

type rule struct {
	args    []specs.LinuxSeccompArg
	verdict uint32
}

// sortCalls gathers what the filter says of each system call, by number.
func sortCalls(filter *specs.LinuxSeccomp, info *arch.Info) ([]*call, error) {
	byNumber := map[uint32]*call{}
	for _, entry := range filter.Syscalls {
		value, err := verdict(entry.Action, entry.ErrnoRet)
		if err != nil {
			return nil, fmt.Errorf("system calls %v: %w", entry.Names, err)
		}
		for _, name := range entry.Names {
			number, known := info.SyscallNames[name]
			if !known {
				continue
			}
			c := byNumber[uint32(number)]
			if c == nil {
				c = &call{number: uint32(number)}
				byNumber[c.number] = c
			}
			if err := c.add(entry.Args, value); err != nil {
				return nil, fmt.Errorf("system call %q: %w", name, err)
			}
		}
	}
	calls := make([]*call, 0, len(byNumber))
	for _, c := range byNumber {
		calls = append(calls, c)
	}
	slices.SortFunc(calls, func(a, b *call) int { return int(a.number) - int(b.number) })
	return calls, nil
}

func (c *call) add(args []specs.LinuxSeccompArg, value uint32) error {
	for _, a := range args {
		if a.Index > 5 {
			return fmt.Errorf("there is no argument %d", a.Index)
		}
		if _, err := condition(a); err != nil {
			return err
		}
	}
	if len(args) > 0 {
		c.rules = append(c.rules, rule{args, value})
		return nil
	}
	if c.always && c.verdict != value {
		return fmt.Errorf("two different actions")
	}
	c.always, c.verdict = true, value
	return nil
}
