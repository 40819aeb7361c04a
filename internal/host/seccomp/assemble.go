package seccomp

import (
	"encoding/binary"
	"fmt"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// A segment is what is done with the system calls from a number up to the
// next segment's.
type segment struct {
	first uint32
	code  []unix.SockFilter // returns on every way
}

// segments cuts the numbers where what is done changes.
func segments(calls []*call, otherwise uint32) []segment {
	var all []segment
	add := func(first uint32, code []unix.SockFilter) {
		if n := len(all); n > 0 && len(code) == 1 && len(all[n-1].code) == 1 && all[n-1].code[0] == code[0] {
			return
		}
		all = append(all, segment{first, code})
	}
	next := uint32(0)
	for _, c := range calls {
		if c.number > next || len(all) == 0 && c.number > 0 {
			add(next, []unix.SockFilter{ret(otherwise)})
		}
		add(c.number, c.code(otherwise))
		next = c.number + 1
	}
	add(next, []unix.SockFilter{ret(unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS))})
	return all
}

// tree returns code that finds the segment of the loaded number by halving.
func tree(all []segment) []unix.SockFilter {
	if len(all) == 1 {
		return all[0].code
	}
	middle := len(all) / 2
	left, right := tree(all[:middle]), tree(all[middle:])
	var code []unix.SockFilter
	if len(left) <= 255 { // a conditional jump's reach
		code = append(code, jump(unix.BPF_JGE, all[middle].first, uint8(len(left)), 0))
	} else {
		code = append(code,
			jump(unix.BPF_JGE, all[middle].first, 0, 1),
			unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JA, K: uint32(len(left))})
	}
	return append(append(code, left...), right...)
}

// code returns what is done with one system call. It may load over the
// number: it returns on every way.
func (c *call) code(otherwise uint32) []unix.SockFilter {
	if c.always {
		return []unix.SockFilter{ret(c.verdict)}
	}
	var code []unix.SockFilter
	for _, r := range c.rules {
		code = append(code, r.code()...)
	}
	return append(code, ret(otherwise))
}

// Where a condition's jumps lead until the code around it is known.
const (
	holds = 254 // behind the condition
	fails = 255 // behind the rule
)

// code returns the rule's verdict if all of its conditions hold, and goes on
// behind itself if not.
func (r rule) code() []unix.SockFilter {
	var code []unix.SockFilter
	for _, a := range r.args {
		part, _ := condition(a) // checked when it was added
		for i := range part {
			resolve(&part[i], holds, len(part)-i-1)
		}
		code = append(code, part...)
	}
	code = append(code, ret(r.verdict))
	for i := range code {
		resolve(&code[i], fails, len(code)-i-1)
	}
	return code
}

func resolve(i *unix.SockFilter, mark uint8, distance int) {
	if i.Code&7 != unix.BPF_JMP {
		return
	}
	if i.Jt == mark {
		i.Jt = uint8(distance)
	}
	if i.Jf == mark {
		i.Jf = uint8(distance)
	}
}

// condition returns code that compares an argument, 64 bits in two halves.
func condition(a specs.LinuxSeccompArg) ([]unix.SockFilter, error) {
	low, high := halves(a.Index)
	vl, vh := uint32(a.Value), uint32(a.Value>>32)
	switch a.Op {
	case specs.OpEqualTo:
		return []unix.SockFilter{load(high), jump(unix.BPF_JEQ, vh, 0, fails), load(low), jump(unix.BPF_JEQ, vl, 0, fails)}, nil
	case specs.OpNotEqual:
		return []unix.SockFilter{load(high), jump(unix.BPF_JEQ, vh, 0, holds), load(low), jump(unix.BPF_JEQ, vl, fails, 0)}, nil
	case specs.OpMaskedEqual:
		wl, wh := uint32(a.ValueTwo), uint32(a.ValueTwo>>32)
		return []unix.SockFilter{
			load(high), and(vh), jump(unix.BPF_JEQ, wh, 0, fails),
			load(low), and(vl), jump(unix.BPF_JEQ, wl, 0, fails),
		}, nil
	case specs.OpGreaterThan:
		return above(high, low, vh, vl, unix.BPF_JGT), nil
	case specs.OpGreaterEqual:
		return above(high, low, vh, vl, unix.BPF_JGE), nil
	case specs.OpLessThan:
		return below(high, low, vh, vl, unix.BPF_JGE), nil
	case specs.OpLessEqual:
		return below(high, low, vh, vl, unix.BPF_JGT), nil
	default:
		return nil, fmt.Errorf("comparison %q is not supported", a.Op)
	}
}

func above(high, low, vh, vl uint32, op uint16) []unix.SockFilter {
	return []unix.SockFilter{
		load(high), jump(unix.BPF_JGT, vh, holds, 0), jump(unix.BPF_JEQ, vh, 0, fails),
		load(low), jump(op, vl, 0, fails),
	}
}

func below(high, low, vh, vl uint32, op uint16) []unix.SockFilter {
	return []unix.SockFilter{
		load(high), jump(unix.BPF_JGT, vh, fails, 0), jump(unix.BPF_JEQ, vh, 0, holds),
		load(low), jump(op, vl, fails, 0),
	}
}

// halves returns the offsets of an argument's halves.
func halves(index uint) (low, high uint32) {
	at := uint32(argsOffset + 8*index)
	if binary.NativeEndian.Uint16([]byte{1, 0}) == 1 {
		return at, at + 4
	}
	return at + 4, at
}

func load(offset uint32) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: offset}
}

func and(mask uint32) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_ALU | unix.BPF_AND | unix.BPF_K, K: mask}
}

func ret(value uint32) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: value}
}

func jump(op uint16, k uint32, jt, jf uint8) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_JMP | op | unix.BPF_K, Jt: jt, Jf: jf, K: k}
}
