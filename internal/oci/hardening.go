package oci

import (
	"fmt"
	"os"
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

// Sysctls returns the kernel's settings in an instance's namespaces that are
// not as the kernel begins: every port may be listened on without a capability,
// since images of web servers say 80. Docker also lets every group make ping
// sockets; a function has nobody to ping.
func Sysctls() map[string]string {
	if _, err := os.Stat("/proc/sys/net/ipv4/ip_unprivileged_port_start"); err != nil {
		return nil // Linux before 4.11; a runtime would refuse
	}
	return map[string]string{"net.ipv4.ip_unprivileged_port_start": "0"}
}

// ReadonlyPaths returns what a function can read and not change: Docker's
// list, in the meaning of the runtime specification's linux.readonlyPaths.
func ReadonlyPaths() []string {
	return []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"}
}
