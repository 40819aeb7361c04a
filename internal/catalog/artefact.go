package catalog

import (
	"maps"
	"math"
	"strings"
	"time"

	"github.com/unifaas/unifaas/internal/faas"
)

// The artefact's form is defined by src/registry/config.rs of
// OpenFogStack/unikernel-edge-faas.

// SandboxRawVM is the sandbox of an artefact's function with [vm]: its own
// kernel and disk, no agent of ours inside. It can't be chosen by name.
const SandboxRawVM = "vm"

const artefactPort = 8080

// artefactMark returns a key that shows that t is of the artefact's form, or "".
func artefactMark(t *table) string {
	for _, key := range []string{"concurrent-requests", "container"} {
		if t.has(key) {
			return key
		}
	}
	vm, ok := t.values["vm"].(map[string]any)
	if !ok {
		return ""
	}
	for _, key := range []string{"kernel", "image", "cmdline", "hypervisor", "memory", "cpus"} {
		if _, ok := vm[key]; ok {
			return join("vm", key)
		}
	}
	return ""
}

func decodeArtefact(t *table, opts DecodeOptions) *faas.Function {
	require(t, "keepalive", "concurrent-requests")
	fn := &faas.Function{
		Ref: opts.Ref, Form: faas.Artefact, Dir: opts.Dir,
		Port:         artefactPort,
		Concurrency:  int(t.integer("concurrent-requests", 1, 1, math.MaxInt32)),
		Keepalive:    time.Second * time.Duration(t.integer("keepalive", 0, 0, int64(maxDuration/time.Second))),
		Queue:        1000,
		StartTimeout: 25 * time.Second,
		Timeout:      faas.Timeouts{FirstByte: 60 * time.Second, Idle: 60 * time.Second},
		Ready:        faas.Ready{Kind: faas.ReadyCallback},
	}
	if t.boolean("single-use") {
		fn.SingleUse, fn.Concurrency = faas.StayIdle, 1
	}
	vm, container := t.sub("vm"), t.sub("container")
	switch {
	case vm != nil && container != nil:
		t.problem("container", "[vm] and [container] exclude each other")
	case vm != nil:
		artefactVM(vm, fn, opts)
	case container != nil:
		artefactContainer(container, fn)
	case !t.has("vm") && !t.has("container"):
		t.doc.problem("", "the artefact's form needs [vm] or [container]")
	}
	t.refuseUnknown()
	return fn
}

func require(t *table, keys ...string) {
	for _, key := range keys {
		if !t.has(key) {
			t.doc.problem(t.path, "key \""+t.prefix+key+"\" is missing")
		}
	}
}

func artefactVM(t *table, fn *faas.Function, opts DecodeOptions) {
	require(t, "kernel", "image", "cmdline", "hypervisor")
	fn.Sandbox = SandboxRawVM
	fn.Limits = faas.Limits{
		Memory: mebibyte * t.integer("memory", 128, 1, 1<<30),
		CPUs:   float64(t.integer("cpus", 1, 1, 4096)),
	}
	fn.VM = &faas.VM{
		Kernel:  artefactPath(t, "kernel", opts),
		Image:   artefactPath(t, "image", opts),
		Cmdline: t.str("cmdline", ""),
	}
	if h := t.sub("hypervisor"); h != nil {
		// A copy: what a deploy may not name is looked for in what was written.
		fn.VM.VMM, fn.VM.Hypervisor = artefactHypervisor(h), maps.Clone(h.values)
		if config := h.str("cpu-config", ""); config != "" { // ours, and Firecracker's
			fn.VM.Hypervisor["cpu-config"] = opts.absolute(config)
		}
	}
	t.refuseUnknown()
}

func artefactPath(t *table, key string, opts DecodeOptions) string {
	p := t.str(key, "")
	if _, ok := t.values[key].(string); ok && p == "" {
		t.problem(key, "%s names no file", t.prefix+key)
	}
	if p == "" {
		return ""
	}
	return opts.absolute(p)
}

// artefactHypervisor checks the options and returns our name of the monitor.
// As in the artefact, an option of another hypervisor is allowed.
func artefactHypervisor(t *table) string {
	vmms := map[string]string{"firecracker": "firecracker", "qemu": "qemu", "microvm": "qemu-microvm"}
	names := []string{"firecracker", "qemu", "microvm"}
	require(t, "type")
	kind := t.str("type", "")
	if _, ok := t.values["type"].(string); ok && vmms[kind] == "" {
		t.problem("type", "unknown hypervisor %q%s; there are: %s", kind, suggest(kind, names), strings.Join(names, ", "))
	}
	if kind == "qemu" || kind == "microvm" {
		require(t, "disk-type")
	}
	for _, key := range []string{"copy-rootfs", "acpi", "pic", "pit", "rtc", "auto-kernel-cmdline"} {
		t.boolean(key)
	}
	disks := []string{"block", "9p"}
	if disk := t.str("disk-type", "block"); !contains(disks, disk) {
		t.problem("disk-type", "unknown disk-type %q%s; there are: block, 9p", disk, suggest(disk, disks))
	}
	for _, key := range []string{"cpu-config", "cpu-model"} { // ours
		t.str(key, "")
	}
	t.refuseUnknown()
	return vmms[kind]
}

func artefactContainer(t *table, fn *faas.Function) {
	require(t, "image")
	fn.Sandbox = "docker"
	// The artefact pins a container to one processor.
	fn.Limits = faas.Limits{Memory: mebibyte * t.integer("memory", 128, 1, 1<<30), CPUs: 1}
	fn.Container = &faas.Container{Image: t.str("image", ""), Runtime: t.str("runtime", "")}
	fn.Runtime = fn.Container.Runtime
	fn.Image = faas.ImageSource{Scheme: "registry", Location: fn.Container.Image}
	if _, ok := t.values["image"].(string); ok && !referenceRE.MatchString(fn.Container.Image) {
		t.problem("image", "container.image = %q is no image reference", fn.Container.Image)
	}
	t.refuseUnknown()
}
