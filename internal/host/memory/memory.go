// Package memory tells how much memory the machine can still give. It knows
// nothing of what it is given to.
package memory

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
)

// Available returns the bytes that can be used without swapping: the
// kernel's MemAvailable (proc(5)).
func Available() (int64, error) { return field("MemAvailable") }

// Total returns the machine's memory in bytes: MemTotal (proc(5)).
func Total() (int64, error) { return field("MemTotal") }

func field(name string) (int64, error) {
	file, err := os.Open("/proc/meminfo")
	if err != nil {
		return 0, fmt.Errorf("read memory: %w", err)
	}
	defer file.Close()
	n, err := parse(file, name)
	if err != nil {
		return 0, fmt.Errorf("read /proc/meminfo: %w", err)
	}
	return n, nil
}

// parse finds a field among lines of "name: number kB" and returns it in bytes.
func parse(r io.Reader, name string) (int64, error) {
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		rest, ok := strings.CutPrefix(lines.Text(), name+":")
		if !ok {
			continue
		}
		const bits = 63 - 10 // of what fits when it is in bytes
		kib, err := strconv.ParseUint(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, bits)
		if err != nil {
			return 0, fmt.Errorf("field %s: %w", name, err)
		}
		return int64(kib) << 10, nil
	}
	if err := lines.Err(); err != nil {
		return 0, err
	}
	return 0, fmt.Errorf("there is no %s", name)
}

// A Machine is the memory that may be given to instances: the machine's, or
// less where something bounds what all of them take together. The zero value
// is the machine's alone.
type Machine struct {
	// Bound tells the least limit around the instances and what is left
	// below it, in bytes; nil is no bound.
	Bound func() (limit, left int64, err error)
	// Unbounded is told why the bound can't be read, and may be nil. Then the
	// machine's memory counts alone: a limit that is not known is no reason to
	// give out more than there is, nor to give nothing.
	Unbounded func(error)
}

// Available returns the bytes that can still be given: the least of what the
// machine has and what the bound leaves.
func (m Machine) Available() (int64, error) {
	return m.least(Available, func(_, left int64) int64 { return left })
}

// Total returns the bytes that there are at all.
func (m Machine) Total() (int64, error) {
	return m.least(Total, func(limit, _ int64) int64 { return limit })
}

func (m Machine) least(machine func() (int64, error), of func(limit, left int64) int64) (int64, error) {
	have, err := machine()
	if err != nil || m.Bound == nil {
		return have, err
	}
	limit, left, err := m.Bound()
	if err != nil {
		if m.Unbounded != nil {
			m.Unbounded(fmt.Errorf("read the memory limit of control groups: %w", err))
		}
		return have, nil
	}
	return min(have, of(limit, left)), nil
}
