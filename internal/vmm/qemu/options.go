package qemu

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/unifaas/unifaas/internal/vmm"
)

// switches are the machine's options of a function's form that microvm has as
// properties of the same name, with what the platform sets where the function
// says nothing: measured, the quickest way to a kernel's first line under TCG,
// where the kernel has been told its clock rate ([Parameters]). Without the
// clock (rtc) a Linux kernel waits a second for it.
//
// What a function sets to false is not switched off but left to QEMU: so it is
// in the form's first implementation (OpenFogStack/unikernel-edge-faas,
// src/vmm/microvm.rs), whose functions say false and rely on it.
var switches = map[string]string{
	"acpi": "on",
	"pic":  "off",
	"pit":  "off",
	"rtc":  "on",
	// With ACPI a kernel finds its devices there.
	"auto-kernel-cmdline": "",
}

const (
	diskType = "disk-type"
	// cpuModel is a processor in the form of QEMU's -cpu: a model and its
	// features, for instance "host,-avx".
	cpuModel = "cpu-model"
)

// cpuRE is what such a processor is made of: it begins no other option.
var cpuRE = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.=+,-]*$`)

// known lists the options of a machine type.
func (m *Monitor) known() []string {
	if m.machine == Q35 {
		return []string{cpuModel, diskType}
	}
	return append(slices.Sorted(maps.Keys(switches)), cpuModel, diskType)
}

// settings returns the machine's properties that a function's options mean.
func (m *Monitor) settings(options map[string]any) ([]string, error) {
	for name := range options {
		if !slices.Contains(m.known(), name) {
			return nil, fmt.Errorf("monitor %q has no option %q; it has %s", m.Name(), name, strings.Join(m.known(), ", "))
		}
	}
	if err := m.checkDisks(options); err != nil {
		return nil, err
	}
	if m.machine == Q35 {
		return nil, nil
	}
	var settings []string
	for _, name := range slices.Sorted(maps.Keys(switches)) {
		value, err := m.setting(options, name)
		if err != nil {
			return nil, err
		}
		if value != "" {
			settings = append(settings, name+"="+value)
		}
	}
	return settings, nil
}

// setting returns the value of one of the switches, "" for QEMU's own.
func (m *Monitor) setting(options map[string]any, name string) (string, error) {
	value, set := options[name]
	if !set {
		return switches[name], nil
	}
	on, ok := value.(bool)
	if !ok {
		return "", fmt.Errorf("option %q of monitor %q: got %v, want true or false", name, m.Name(), value)
	}
	if on {
		return "on", nil
	}
	return "", nil
}

// processor returns what the guest sees as its processor: what a function's
// options say, else all that the accelerator can do. Snapshots stay on their
// host.
func (m *Monitor) processor(options map[string]any, a vmm.Accelerator) (string, error) {
	value, set := options[cpuModel]
	if !set {
		return model(a), nil
	}
	text, ok := value.(string)
	if !ok || !cpuRE.MatchString(text) {
		return "", fmt.Errorf(`option %q of monitor %q: got %v, want a processor in the form of QEMU's -cpu, for instance "host,-avx"`, cpuModel, m.Name(), value)
	}
	return text, nil
}

// model is the best processor that an accelerator has.
func model(a vmm.Accelerator) string {
	if a == vmm.KVM {
		return "host"
	}
	return "max"
}

// checkDisks refuses what disks can't be.
func (m *Monitor) checkDisks(options map[string]any) error {
	switch value, set := options[diskType]; {
	case !set, value == "block":
		return nil
	case value == "9p":
		return fmt.Errorf(`option %q of monitor %q: "9p" is not offered: a guest would see a folder of the host; make a disk of it and use "block"`, diskType, m.Name())
	default:
		return fmt.Errorf(`option %q of monitor %q: got %v, want "block"`, diskType, m.Name(), value)
	}
}
