package vm_test

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/unifaas/unifaas/internal/faas"
	"github.com/unifaas/unifaas/internal/guest"
	"github.com/unifaas/unifaas/internal/guest/nanos"
	"github.com/unifaas/unifaas/internal/guest/osv"
	"github.com/unifaas/unifaas/internal/sandbox/sandboxtest"
	"github.com/unifaas/unifaas/internal/sandbox/vm"
	"github.com/unifaas/unifaas/internal/vmm"
)

// A unikernel is a guest system whose kernel the operator supplies.
type unikernel struct {
	name     string
	variable string // names the kernel, which is what
	what     string
	system   func(stateDir, kernel string) guest.System
	lacks    map[sandboxtest.Promise]string // beside what any does
	// cmdline is how a function of the artefact's form tells the kernel its
	// network and whom to call.
	cmdline string
}

var (
	nanosKernel = unikernel{
		name: nanos.Name, variable: "UNIFAAS_NANOS_DIR", what: "a release of Nanos, kernel.img and boot.img in a folder,",
		system: func(stateDir, kernel string) guest.System {
			return nanos.NewSystem(stateDir, finder(nanos.Assets(), kernel, stateDir))
		},
		cmdline: "en1.ipaddr=%ip en1.netmask=%netmask en1.gateway=%gateway environment.CALLBACK=%callback",
	}
	osvKernel = unikernel{
		name: osv.Name, variable: "UNIFAAS_OSV_LOADER", what: "OSv's kernel, a loader-stripped.elf,",
		system: func(stateDir, kernel string) guest.System {
			return osv.NewSystem(stateDir, finder(osv.Assets(), kernel, stateDir))
		},
		lacks: map[sandboxtest.Promise]string{
			sandboxtest.ExitStatus:  "it turns the machine off whatever the program's exit status is, and tells nobody",
			sandboxtest.BoundedDisk: "its /tmp is in the guest's memory, which bounds it",
			sandboxtest.MemoryLimit: "over its memory it waits for some to become free, and answers no more: a health check finds out",
		},
		cmdline: "--ip=eth0,%ip,%netmask --defaultgw=%gateway /init %callback",
	}
)

func TestConformanceNanosQ35(t *testing.T) { nanosKernel.conformance(t, "qemu") }
func TestConformanceOSvQ35(t *testing.T)   { osvKernel.conformance(t, "qemu") }

// Those on Firecracker run wherever KVM works and both are supplied: make
// test-guest has such a machine.
func TestConformanceNanosFirecracker(t *testing.T) { nanosKernel.conformance(t, "firecracker") }
func TestConformanceOSvFirecracker(t *testing.T)   { osvKernel.conformance(t, "firecracker") }

// TestArtefacts... serve functions as the artefact's registry names them. Nanos
// is told its network on Firecracker alone.
func TestArtefactsOSvQ35(t *testing.T) {
	osvKernel.artefact(t, `{ type = "qemu", disk-type = "block" }`,
		guest.Machine{Monitor: "qemu", Accelerator: vmm.TCG, Boots: []vmm.Boot{vmm.BootPVH}, PCI: true})
}

func TestArtefactsOSvFirecracker(t *testing.T) {
	osvKernel.artefact(t, `{ type = "firecracker" }`,
		guest.Machine{Monitor: "firecracker", Accelerator: vmm.KVM, Boots: []vmm.Boot{vmm.BootPVH}})
}

func TestArtefactsNanosFirecracker(t *testing.T) {
	nanosKernel.artefact(t, `{ type = "firecracker" }`,
		guest.Machine{Monitor: "firecracker", Accelerator: vmm.KVM, Boots: []vmm.Boot{vmm.BootLinux}})
}

// supplied returns what makes the system, once the kernel and the monitor, where
// that is the operator's to supply, are there.
func (u unikernel) supplied(t *testing.T, monitor string) func(stateDir string) guest.System {
	t.Helper()
	kernel := supplied(t, u.name, u.variable, u.what)
	if monitor == "firecracker" {
		supplied(t, u.name+"-firecracker", "UNIFAAS_FIRECRACKER", "Firecracker")
	}
	return func(stateDir string) guest.System { return u.system(stateDir, kernel) }
}

func (u unikernel) conformance(t *testing.T, monitor string) {
	// What a kernel that is one program with it lacks by nature.
	lacks := map[sandboxtest.Promise]string{
		sandboxtest.NoNetwork:    "it has an interface, on whose other side there is nothing but a tap: TestMachineReachesNothing",
		sandboxtest.Users:        "it has one program and no users: the machine is the boundary",
		sandboxtest.NoPrivileges: "it has no capabilities that could be taken away: the machine is the boundary",
		sandboxtest.Proc:         "it has no processes, and no table of them",
		sandboxtest.PidsLimit:    "it can't start a process at all",
		sandboxtest.BulkOutput:   "its output goes over a serial port, byte by byte, and it does nothing else meanwhile",
		sandboxtest.OutOfMemory:  "its program is told of the end of memory as of any other fault, and nobody else is",
	}
	maps.Copy(lacks, u.lacks)
	sandboxtest.Run(t, sandboxtest.Harness{New: on(monitor, u.supplied(t, monitor)), Die: vm.Die, Lacks: lacks})
}

// unikernelRegistry is function.toml of the artefact for its unikernels.
const unikernelRegistry = `keepalive = 100
concurrent-requests = 1
single-use = true

[vm]
kernel = %q
image = %q
memory = 128
cpus = 1
cmdline = %q
hypervisor = %s
`

// artefact serves a kernel and a disk that the system makes for the artefact's
// function, by a command line in the artefact's form.
func (u unikernel) artefact(t *testing.T, hypervisor string, on guest.Machine) {
	system := u.supplied(t, on.Monitor)
	if os.Geteuid() != 0 {
		sandboxtest.Skip(t, "vm", sandboxtest.NotRoot{What: "make networks of machines"})
	}
	dir := t.TempDir()
	rootfs := filepath.Join(dir, "rootfs")
	if err := os.MkdirAll(rootfs, 0o755); err != nil {
		t.Fatal(err)
	}
	buildArtefact(t, filepath.Join(rootfs, "init"))
	rev := &faas.Revision{
		Function: faas.Function{Ref: faas.NewRef("made"), Port: 8080, Command: []string{"/init"}, Limits: faas.Limits{Memory: 128 << 20, Disk: 1 << 20}},
		Image:    faas.Image{Rootfs: rootfs, Digest: "sha256:" + strings.Repeat("1", 64)},
	}
	image, err := system(dir).Prepare(t.Context(), rev, on)
	if err != nil {
		t.Fatal(err)
	}
	r := rawRig(t, dir, fmt.Sprintf(unikernelRegistry, image.Kernel, image.Disks[0].Path, u.cmdline, hypervisor))
	for _, id := range []string{"1", "2"} {
		if got := r.ask(r.start(id), "/hello"); got != "hello" {
			t.Errorf("instance %s: got %q", id, got)
		}
	}
}
