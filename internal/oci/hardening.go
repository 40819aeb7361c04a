package oci

import (
	"fmt"
	"path/filepath"

	"github.com/moby/profiles/seccomp"
	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// Seccomp returns Docker's default filter of system calls, resolved for a
// process without any capability on the running kernel and architecture. The
// profile is that of github.com/moby/profiles; nothing is added or left out.
// The value is the caller's own. It takes about 50 microseconds, so that what
// starts instances makes it once per revision.
func Seccomp() (*specs.LinuxSeccomp, error) {
	// The profile looks at the bounding set alone.
	none := &specs.Spec{Process: &specs.Process{Capabilities: &specs.LinuxCapabilities{}}}
	filter, err := seccomp.GetDefaultProfile(none)
	if err != nil {
		return nil, fmt.Errorf("resolve the seccomp profile: %w", err)
	}
	return filter, nil
}

// MaskedPaths returns what a function can't look into: Docker's list, in the
// meaning of the runtime specification's linux.maskedPaths (a folder becomes
// an empty one, a file an empty device; what is missing is left out). Of the
// processors' folders it names those that this machine has.
func MaskedPaths() []string {
	// The pattern is a good one, so that there is no error.
	throttles, _ := filepath.Glob("/sys/devices/system/cpu/cpu[0-9]*/thermal_throttle")
	return append([]string{
		"/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys",
		"/proc/latency_stats", "/proc/sched_debug", "/proc/scsi", "/proc/timer_list", "/proc/timer_stats",
		"/sys/devices/virtual/powercap", "/sys/firmware",
	}, throttles...)
}

// ReadonlyPaths returns what a function can read and not change: Docker's
// list, in the meaning of the runtime specification's linux.readonlyPaths.
func ReadonlyPaths() []string {
	return []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"}
}
