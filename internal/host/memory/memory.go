// Package memory tells how much memory the machine can still give.
package memory

import (
	"bufio"
	"fmt"
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
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		rest, ok := strings.CutPrefix(lines.Text(), name+":")
		if !ok {
			continue
		}
		kib, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
		if err != nil {
			return 0, fmt.Errorf("read %s from /proc/meminfo: %w", name, err)
		}
		return kib << 10, nil
	}
	return 0, fmt.Errorf("/proc/meminfo has no %s", name)
}

// Machine is this machine's memory.
type Machine struct{}

// Available is the function [Available].
func (Machine) Available() (int64, error) { return Available() }
