package measure

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/unifaas/unifaas/internal/host/cgroup"
	"github.com/unifaas/unifaas/internal/host/kvm"
	"github.com/unifaas/unifaas/internal/lab/record"
)

// kvmThere is what is known of KVM before it is tried.
const kvmThere = "/dev/kvm is there"

// probeTimeout bounds that.
const probeTimeout = 5 * time.Second

// HostFacts returns what can be found out about the machine. Sandboxes,
// digests and the platform's version are others' to add.
func HostFacts() record.Host {
	h := machine.facts()
	h.Hostname, _ = os.Hostname()
	h.Cores = runtime.NumCPU()
	h.Cgroup = cgroupVersion()
	if h.Accelerator == kvmThere {
		ctx, cancel := context.WithTimeout(context.Background(), probeTimeout)
		defer cancel()
		h.Accelerator = "KVM"
		if err := kvm.Usable(ctx); err != nil {
			h.Accelerator = "none (" + err.Error() + ")"
		}
	}
	return h
}

func (r root) facts() record.Host {
	h := record.Host{
		CPU: r.cpu(), Kernel: r.text("proc/sys/kernel/osrelease"), System: r.system(),
		Governor:    r.text("sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
		Accelerator: "none (there is no /dev/kvm)",
	}
	if _, err := os.Stat(string(r) + "dev/kvm"); err == nil {
		h.Accelerator = kvmThere
	}
	// What can't be read stays 0.
	h.Memory, _ = r.meminfo("MemTotal")
	h.LoadBefore, _ = r.load()
	return h
}

// cpu returns the processor's model; on ARM the kernel tells numbers instead.
func (r root) cpu() string {
	text, err := r.read("proc/cpuinfo")
	if err != nil {
		return ""
	}
	found := map[string]string{}
	lines := bufio.NewScanner(bytes.NewReader(text))
	for lines.Scan() {
		key, value, _ := strings.Cut(lines.Text(), ":")
		if key = strings.TrimSpace(key); found[key] == "" {
			found[key] = strings.TrimSpace(value)
		}
	}
	if model := found["model name"]; model != "" {
		return model
	}
	if found["CPU part"] == "" {
		return ""
	}
	return "ARM implementer " + found["CPU implementer"] + ", part " + found["CPU part"]
}

// system returns PRETTY_NAME of os-release(5).
func (r root) system() string {
	text, err := r.read("etc/os-release")
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(text)) {
		if name, ok := strings.CutPrefix(line, "PRETTY_NAME="); ok {
			return strings.Trim(strings.TrimSpace(name), `"`)
		}
	}
	return ""
}

func cgroupVersion() string {
	layout, err := cgroup.Discover()
	switch {
	case err != nil:
		return ""
	case len(layout.V1) == 0 && layout.V2 != "":
		return "v2"
	case layout.V2 != "":
		return "hybrid"
	default:
		return "v1"
	}
}

// EmptyPageCache has the kernel forget what it keeps of files and need not
// write: all that is read next comes from storage. It needs root.
func EmptyPageCache() error {
	return os.WriteFile("/proc/sys/vm/drop_caches", []byte("1\n"), 0)
}

// PagedIn returns how many bytes the machine has read from storage since it
// was started.
func PagedIn() (int64, error) {
	text, err := os.ReadFile("/proc/vmstat")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, "pgpgin "); ok {
			kib, err := strconv.ParseInt(strings.TrimSpace(value), 10, 64)
			return kib << 10, err
		}
	}
	return 0, errors.New("/proc/vmstat does not tell pgpgin")
}
