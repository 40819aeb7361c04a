// Package plan is what the container driver and its launcher say to each
// other: what an instance is to look like, in a form that takes no time to
// read. It is compiled into both, and imports next to nothing for the
// launcher's sake.
package plan

import (
	"encoding/binary"
	"errors"
)

// The launcher's files, by descriptor, beside its standard ones.
const (
	// GateFD is a socket of sequenced packets. The launcher goes on when it
	// gets one with the instance's name, and the root file system's mount
	// where the plan names no path; it ends when the socket does. It answers with [Done], or
	// with [Failed] and words.
	GateFD = 3
	// PlanFD is a file that holds the encoded plan.
	PlanFD = 4
	// StatusFD is a file to which the function's wait status is written, four
	// bytes of the machine's order, when it has ended.
	StatusFD = 5
	// LauncherFD is the launcher's own program: executed by its number among the
	// child's files, nothing that the fork moves there can take its place.
	LauncherFD = 6
	// DialFD, of instances whose plan says Serve, is a listening unix socket
	// of sequenced packets. Whoever connects gets one TCP socket, made inside.
	DialFD = 7
)

// Name is the first argument of an instance's first process; the second is the
// instance's name, of at most MaxID bytes.
const (
	Name  = "unifaas-container"
	MaxID = 64
)

// First bytes of the launcher's answer.
const (
	Done   = 1
	Failed = 2
)

// ProbeStatus is what the launcher exits with when it is started without a
// plan: inside a container, as the program of a probe.
const ProbeStatus = 42

// A Plan says what an instance is to look like.
type Plan struct {
	Argv []string
	Env  []string
	Dir  string // working folder
	UID  uint32 // inside
	GID  uint32 // inside
	// Groups says that the supplementary groups can be given up, for which the
	// user namespace must have been made by root.
	Groups   bool
	Hostname string
	// Rootfs is the root file system's path, "" when its mount comes through
	// the gate.
	Rootfs   string
	Tmp      int64 // bytes of /tmp
	Shm      int64 // bytes of /dev/shm
	Masked   []string
	ReadOnly []string
	Limits   []Limit
	// Filter is a seccomp program: 8 bytes for each instruction, as in the
	// kernel's struct sock_filter.
	Filter []byte
	// Cgroup says that the version 2 hierarchy is shown at /sys/fs/cgroup.
	Cgroup bool
	// Serve says that the launcher stays, to hand out sockets by DialFD.
	Serve bool
}

// A Limit is a resource limit of setrlimit(2).
type Limit struct {
	Resource   uint32
	Soft, Hard uint64
}

// magic begins every plan. Its last digits are the form's version: a launcher
// of another build must not guess.
const magic = "unifaas-plan-1\n"

// ErrForm is returned for what is not a plan of this build.
var ErrForm = errors.New("not a plan of this build")

// Encode returns p in the form that [Decode] reads.
func (p *Plan) Encode() []byte {
	e := encoder(magic)
	e.strings(p.Argv)
	e.strings(p.Env)
	e.string(p.Dir)
	e.number(uint64(p.UID))
	e.number(uint64(p.GID))
	e.bool(p.Groups)
	e.string(p.Hostname)
	e.string(p.Rootfs)
	e.number(uint64(p.Tmp))
	e.number(uint64(p.Shm))
	e.strings(p.Masked)
	e.strings(p.ReadOnly)
	e.number(uint64(len(p.Limits)))
	for _, l := range p.Limits {
		e.number(uint64(l.Resource))
		e.number(l.Soft)
		e.number(l.Hard)
	}
	e.string(string(p.Filter))
	e.bool(p.Cgroup)
	e.bool(p.Serve)
	return e
}

// Decode reads an encoded plan. The plan's Filter is a part of b.
func Decode(b []byte) (*Plan, error) {
	if len(b) < len(magic) || string(b[:len(magic)]) != magic {
		return nil, ErrForm
	}
	d := decoder{rest: b[len(magic):]}
	p := &Plan{
		Argv: d.strings(), Env: d.strings(), Dir: d.string(),
		UID: uint32(d.number()), GID: uint32(d.number()), Groups: d.bool(),
		Hostname: d.string(), Rootfs: d.string(),
		Tmp: int64(d.number()), Shm: int64(d.number()),
		Masked: d.strings(), ReadOnly: d.strings(),
	}
	for range d.count(24) {
		p.Limits = append(p.Limits, Limit{Resource: uint32(d.number()), Soft: d.number(), Hard: d.number()})
	}
	p.Filter = d.bytes()
	p.Cgroup, p.Serve = d.bool(), d.bool()
	if d.broken || len(d.rest) > 0 {
		return nil, ErrForm
	}
	return p, nil
}

type encoder []byte

func (e *encoder) number(n uint64) { *e = binary.LittleEndian.AppendUint64(*e, n) }

func (e *encoder) bool(b bool) {
	n := uint64(0)
	if b {
		n = 1
	}
	e.number(n)
}

func (e *encoder) string(s string) {
	e.number(uint64(len(s)))
	*e = append(*e, s...)
}

func (e *encoder) strings(all []string) {
	e.number(uint64(len(all)))
	for _, s := range all {
		e.string(s)
	}
}

// A decoder reads on after an error and then returns zeros.
type decoder struct {
	rest   []byte
	broken bool
}

func (d *decoder) number() uint64 {
	if len(d.rest) < 8 {
		d.rest, d.broken = nil, true
		return 0
	}
	n := binary.LittleEndian.Uint64(d.rest)
	d.rest = d.rest[8:]
	return n
}

func (d *decoder) bool() bool { return d.number() == 1 }

// count reads how many things of at least size bytes follow.
func (d *decoder) count(size uint64) uint64 {
	n := d.number()
	if n > uint64(len(d.rest))/size {
		d.rest, d.broken = nil, true
		return 0
	}
	return n
}

func (d *decoder) bytes() []byte {
	n := d.count(1)
	b := d.rest[:n]
	d.rest = d.rest[n:]
	return b
}

func (d *decoder) string() string { return string(d.bytes()) }

func (d *decoder) strings() []string {
	var all []string
	for range d.count(8) {
		all = append(all, d.string())
	}
	return all
}
