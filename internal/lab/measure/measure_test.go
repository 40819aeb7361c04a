package measure

import (
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"testing"
	"time"
)

// fixture is a machine whose files are these.
func fixture(t *testing.T, files map[string]string) root {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return root(dir + "/")
}

func TestFacts(t *testing.T) {
	for name, c := range map[string]struct {
		files map[string]string
		cpu   string
	}{
		"x86":  {map[string]string{"proc/cpuinfo": "processor\t: 0\nmodel name\t: Fast 9000\nprocessor\t: 1\nmodel name\t: other\n"}, "Fast 9000"},
		"arm":  {map[string]string{"proc/cpuinfo": "processor\t: 0\nCPU implementer\t: 0x41\nCPU part\t: 0xd08\n"}, "ARM implementer 0x41, part 0xd08"},
		"odd":  {map[string]string{"proc/cpuinfo": "machine : odd\n"}, ""},
		"bare": {nil, ""},
	} {
		if got := fixture(t, c.files).facts(); got.CPU != c.cpu {
			t.Errorf("%s: got %q", name, got.CPU)
		}
	}
	h := fixture(t, map[string]string{
		"proc/meminfo": "MemTotal:       2048 kB\nMemAvailable:   1024 kB\n", "proc/loadavg": "1.25 0.5 0.1 1/2 3\n",
		"proc/sys/kernel/osrelease": "6.1.0-x\n", "etc/os-release": "ID=debian\nPRETTY_NAME=\"Debian 12\"\n",
		"sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "performance\n", "dev/kvm": "",
	}).facts()
	if h.Memory != 2<<20 || h.LoadBefore != 1.25 || h.Kernel != "6.1.0-x" || h.System != "Debian 12" || h.Governor != "performance" || h.Accelerator != "/dev/kvm is there" {
		t.Errorf("got %+v", h)
	}
}

func TestAvailable(t *testing.T) {
	zones := "Node 0, zone    DMA32\n  pages free     100\n        count 7\n  pagesets\n    cpu: 0\n              count:    30\n              high:     50\n    cpu: 1\n              count: 12\n"
	m := fixture(t, map[string]string{"proc/meminfo": "MemAvailable:   1024 kB\n", "proc/zoneinfo": zones})
	want := int64(1<<20) + 42*int64(os.Getpagesize())
	if got, err := m.available(); err != nil || got != want {
		t.Errorf("got %d, %v; want %d", got, err, want)
	}
	if _, err := fixture(t, map[string]string{"proc/meminfo": "none\n"}).available(); err == nil {
		t.Error("without a line: no error")
	}
	here, err := Available()
	if err != nil || here <= 0 {
		t.Errorf("of this machine: got %d, %v", here, err)
	}
}

// TestProcesses finds a process and sums what the kernel tells of each of its
// mappings.
func TestProcesses(t *testing.T) {
	cmd := exec.Command("sleep", "60")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	time.Sleep(50 * time.Millisecond) // it has been executed
	all, err := Processes()
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(all, func(p ProcessMemory) bool { return p.Pid == cmd.Process.Pid })
	if i < 0 {
		t.Fatal("it is not among them")
	}
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps", cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	var sum int64
	for _, mapping := range regexp.MustCompile(`(?m)^Pss: +(\d+) kB`).FindAllSubmatch(text, -1) {
		kib, err := strconv.ParseInt(string(mapping[1]), 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		sum += kib << 10
	}
	if got := all[i]; got.Name != "sleep" || got.Parent != os.Getpid() || sum == 0 || math.Abs(float64(got.PSS)/float64(sum)-1) > 0.3 {
		t.Errorf("got %+v; its mappings have %d", got, sum) // each mapping's is rounded
	}
}

func TestCame(t *testing.T) {
	const platform = 100
	before := []ProcessMemory{{Pid: 1}, {Pid: platform, Parent: 1}, {Pid: 200, Parent: 1, Name: "cron"}, {Pid: 300, Parent: 1, Name: "containerd"}}
	after := append(slices.Clone(before),
		ProcessMemory{Pid: 101, Parent: platform}, ProcessMemory{Pid: 102, Parent: 101}, // a sandbox and what is in it
		ProcessMemory{Pid: 103, Parent: 1}, // a shim that nobody is the parent of
		ProcessMemory{Pid: 104, Parent: 103},
		ProcessMemory{Pid: 105, Parent: 300},                                       // one that the daemon is the parent of
		ProcessMemory{Pid: 201, Parent: 200}, ProcessMemory{Pid: 202, Parent: 201}, // somebody else's
		ProcessMemory{Pid: 401, Parent: 402}, ProcessMemory{Pid: 402, Parent: 401}, // numbers were used again meanwhile
	)
	var got []int
	for _, p := range Came(before, after, platform) {
		got = append(got, p.Pid)
	}
	if want := []int{101, 102, 103, 104, 105}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestCounter(t *testing.T) {
	busy := exec.Command("sh", "-c", "while :; do :; done")
	idle := exec.Command("sleep", "60")
	for _, cmd := range []*exec.Cmd{busy, idle} {
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	}
	time.Sleep(50 * time.Millisecond) // they have been executed
	b, i := Count([]int{busy.Process.Pid}), Count([]int{idle.Process.Pid})
	defer b.Close()
	defer i.Close()
	time.Sleep(300 * time.Millisecond)
	ub, ui := b.Read(), i.Read()
	if share := float64(ub.CPU) / float64(ub.Over); share < 0.2 || share > 1.1 {
		t.Errorf("a busy process used %v in %v", ub.CPU, ub.Over)
	}
	if ui.CPU > 5*time.Millisecond || ui.Switches > 2 {
		t.Errorf("an idle process: got %+v", ui)
	}
	if ub.Counted && ub.Instructions < 1_000_000 {
		t.Errorf("a busy process: %d instructions", ub.Instructions)
	}
	if !ub.Counted {
		t.Log("this machine has no counter of instructions")
	}
	gone := Count([]int{1 << 30})
	defer gone.Close()
	if u := gone.Read(); u.CPU != 0 || u.Counted {
		t.Errorf("of no process: got %+v", u)
	}
}
