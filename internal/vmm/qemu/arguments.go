package qemu

import (
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/unifaas/unifaas/internal/vmm"
)

// A command line is put together of the machine's parts. Whatever holds a path
// or a name of others is given as JSON: in QEMU's own form a comma begins the
// next option.
type commandLine struct {
	args []string
	// files are those that QEMU inherits, from descriptor 3 on; opened are the
	// ones among them that were opened for that.
	files  []*os.File
	opened []*os.File
	err    error
}

// close closes what was opened for QEMU, which has its own by then.
func (l *commandLine) close() {
	for _, file := range l.opened {
		file.Close()
	}
}

// firstFile is the descriptor of the first inherited file.
const firstFile = 3

func (l *commandLine) add(args ...string) { l.args = append(l.args, args...) }

// addJSON adds an option whose value is a JSON object.
func (l *commandLine) addJSON(option string, value map[string]any) {
	text, err := json.Marshal(value)
	if err != nil {
		l.err = cmp.Or(l.err, fmt.Errorf("write QEMU's option %s: %w", option, err))
	}
	l.add(option, string(text))
}

// open has QEMU inherit the file at path, so that its user need not be able to
// reach it. QEMU is given the number, or -1 when there is no such file; then
// the line is of no use.
func (l *commandLine) open(path string, flags int) int {
	file, err := os.OpenFile(path, flags, 0)
	if err == nil {
		l.opened = append(l.opened, file)
		var info os.FileInfo
		if info, err = file.Stat(); err == nil && info.IsDir() {
			err = fmt.Errorf("%s is a folder", path)
		}
	}
	if err != nil {
		l.err = cmp.Or(l.err, err)
		return -1
	}
	return l.inherit(file)
}

// take has QEMU inherit a file that somebody else opens.
func (l *commandLine) take(open func() (*os.File, error)) int {
	file, err := open()
	if err != nil {
		l.err = cmp.Or(l.err, err)
		return -1
	}
	l.opened = append(l.opened, file)
	return l.inherit(file)
}

// reopened is how QEMU opens an inherited file where it must do so by a path:
// its user must be allowed to read the file, not to come to it.
func reopened(fd int) string { return "/proc/self/fd/" + strconv.Itoa(fd) }

// inherit has QEMU inherit file and returns the number that it has there.
func (l *commandLine) inherit(file *os.File) int {
	l.files = append(l.files, file)
	return firstFile + len(l.files) - 1
}

// ramID names the guest's memory; a snapshot has it by this name.
const ramID = "ram"

// A source is where a machine's memory comes from.
type source struct {
	// file holds its contents, for a machine that is restored; nil begins with
	// nothing.
	file *os.File
	// readOnly says that QEMU can open that for reading and yet map it for
	// writing.
	readOnly bool
}

// arguments returns the command line of machine c, but for how it is steered.
// It must be closed.
func (m *Monitor) arguments(c *vmm.Config, accelerator vmm.Accelerator, from source) (*commandLine, error) {
	settings, err := m.settings(c.Options)
	if err != nil {
		return nil, err
	}
	cpu, err := m.processor(c.Options, accelerator)
	if err != nil {
		return nil, err
	}
	l := &commandLine{}
	l.add("-name", "guest="+c.ID)
	l.common(m.machine, accelerator, cpu, settings)
	l.add("-m", strconv.FormatInt(c.Memory/mebibyte, 10)+"M", "-smp", strconv.Itoa(c.CPUs))
	l.memory(c.Memory, from)
	l.serial()
	l.boot(c)
	l.devices(m.machine, c)
	if l.err != nil {
		l.close()
		return nil, l.err
	}
	return l, nil
}

// common adds what all machines have, also the one of a probe.
func (l *commandLine) common(machine Type, accelerator vmm.Accelerator, cpu string, settings []string) {
	l.add("-nodefaults", "-no-user-config", "-display", "none", "-no-reboot")
	l.add("-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny")
	l.add("-machine", strings.Join(append(machine.properties(), settings...), ","))
	l.add("-accel", string(accelerator))
	l.add("-cpu", cpu)
	if machine == Microvm {
		// Version 1 of virtio, which is the only one that Firecracker has too.
		l.add("-global", "virtio-mmio.force-legacy=false")
	}
}

// properties returns what a machine of the type is. The PC goes without what a
// guest without screen and keyboard has no use for.
func (t Type) properties() []string {
	if t == Microvm {
		return []string{"microvm", "isa-serial=on"}
	}
	return []string{"q35", "vmport=off", "smbus=off", "sata=off", "smm=off", "usb=off"}
}

// memory adds the guest's. It is a file in memory that a snapshot copies,
// rather than QEMU writing each page into a stream; to begin a machine takes
// as long as with memory that is QEMU's alone. A restored machine has the
// snapshot's file, mapped so that what it writes is its own.
func (l *commandLine) memory(size int64, from source) {
	ram := map[string]any{"qom-type": "memory-backend-memfd", "id": ramID, "size": size, "share": true}
	if from.file != nil {
		path := reopened(l.inherit(from.file))
		ram = map[string]any{"qom-type": "memory-backend-file", "id": ramID, "size": size, "share": false, "mem-path": path}
		if from.readOnly {
			ram["readonly"], ram["rom"] = true, "off"
		}
	}
	l.addJSON("-object", ram)
	l.add("-machine", "memory-backend="+ramID)
}

// serial connects the guest's first serial port with QEMU's standard output.
func (l *commandLine) serial() {
	l.add("-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console")
}

func (l *commandLine) boot(c *vmm.Config) {
	if c.Boot == vmm.BootDisk {
		return
	}
	l.add("-kernel", reopened(l.open(c.Kernel, os.O_RDONLY)))
	if c.Initrd != "" {
		l.add("-initrd", reopened(l.open(c.Initrd, os.O_RDONLY)))
	}
	if c.Cmdline != "" {
		l.add("-append", c.Cmdline)
	}
}
