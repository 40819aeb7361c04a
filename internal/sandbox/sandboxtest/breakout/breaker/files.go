package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"

	"golang.org/x/sys/unix"
)

// written must not be open for writing, readable not for reading: an empty
// file, or an empty folder, counts as closed.
var (
	written = []string{
		"/proc/sys/kernel/core_pattern", "/proc/sys/kernel/hostname", "/proc/sys/kernel/modprobe", "/proc/sys/vm/overcommit_memory",
		"/proc/sys/net/ipv4/ip_forward", "/proc/sys/user/max_user_namespaces", "/proc/sys/fs/binfmt_misc/register",
		"/proc/sys/vm/drop_caches", "/proc/sysrq-trigger", "/proc/irq/default_smp_affinity", "/proc/irq/0/smp_affinity", "/proc/bus/new", "/proc/fs/new", "/proc/1/mem",
		"/sys/kernel/uevent_helper", "/sys/kernel/mm/transparent_hugepage/enabled", "/sys/power/state", "/sys/fs/cgroup/cgroup.procs",
		"/breaker", "/setuid", "/proc/self/exe", "/proc/1/exe", "/etc/new", "/dev/new", "/proc/new", "/sys/new", "/new",
	}
	readable = []string{
		"/proc/kcore", "/proc/keys", "/proc/timer_list", "/proc/interrupts", "/proc/latency_stats", "/proc/sched_debug", "/proc/timer_stats", "/proc/acpi", "/proc/scsi", "/proc/asound",
		"/sys/firmware", "/sys/devices/virtual/powercap", "/proc/1/exe", "/proc/1/mem", "/proc/1/environ", "/proc/1/maps", "/proc/1/root", "/proc/1/root/etc/shadow",
		"/proc/1/cwd", "/proc/1/fd/0", "/proc/1/fd/5", "/proc/1/ns/mnt", "/proc/1/map_files", "/dev/mem", "/dev/kmem", "/dev/port", "/dev/kmsg", "/dev/sda", "/dev/vda", "/dev/nvme0n1",
		"/dev/kvm", "/dev/fuse", "/dev/net/tun", "/dev/console", "/dev/loop0", "/dev/mapper", "/sys/kernel/debug", "/sys/kernel/tracing", "/sys/kernel/security", "/sys/fs/bpf",
		"/run/docker.sock", "/var/run/docker.sock", "/boot", "/root/.ssh",
	}
)

// tools are among the attempts, and are none: others run them.
var tools = map[string]bool{"whoami": true, "make orphan": true, "nothing": true}

func init() {
	for _, path := range written {
		attempts["write "+path] = func() error { return openForWriting(path) }
	}
	for _, path := range readable {
		attempts["read "+path] = func() error { return read(path) }
	}
	// These can be opened by whoever has the process's user; the write counts.
	for path, text := range map[string]string{
		"/proc/self/uid_map": "0 0 1", "/proc/1/uid_map": "0 0 1", "/proc/self/setgroups": "allow",
		"/proc/1/comm": "broken", "/proc/1/oom_score_adj": "-1000",
	} {
		attempts["change "+path] = func() error { return os.WriteFile(path, []byte(text), 0) }
	}
	attempts["change mode"] = func() error { return os.Chmod("/breaker", 0o777) }
	attempts["change owner"] = func() error { return os.Chown("/breaker", os.Getuid(), os.Getgid()) }
	attempts["rename"] = func() error { return os.Rename("/breaker", "/broken") }
	attempts["remove"] = func() error { return os.Remove("/breaker") }
	attempts["touch null"] = func() error { return unix.UtimesNanoAt(unix.AT_FDCWD, "/dev/null", nil, 0) }
	attempts["hard link"] = func() error { return os.Link("/breaker", "/broken") }
	attempts["whoami"] = func() error { // of the set-user-ID program
		fmt.Print(who())
		os.Exit(0)
		return nil
	}
	attempts["make orphan"] = func() error { return exec.Command("/breaker", "nothing").Start() }
	attempts["nothing"] = func() error { return errors.New("nothing") }
}

func openForWriting(path string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	return f.Close()
}

func read(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if info.IsDir() {
		entries, err := os.ReadDir(path)
		if err == nil && len(entries) == 0 {
			return errors.New("empty folder") // a mask
		}
		return err
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	n, err := f.Read(make([]byte, 1))
	if n == 0 {
		// A mask, or a device that has nothing to give: not wrapped, since it is
		// no refusal that could be looked at.
		return errors.New("empty file: " + err.Error())
	}
	return nil
}
