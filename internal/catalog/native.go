package catalog

import (
	"math"
	"strings"
	"time"

	"github.com/unifaas/unifaas/internal/faas"
)

const mebibyte = 1 << 20

// reserved keys are part of what the native form will be.
var reserved = [...]string{"protocol", "freeze-after", "snapshot", "secrets", "schedule"}

// nativeKeys are the keys that only the native form has.
var nativeKeys = [...]string{
	"sandbox", "fallback", "image", "command", "port", "concurrency", "min-instances", "max-instances", "queue",
	"start-timeout", "timeout", "memory", "cpus", "pids", "disk", "egress", "ready", "health", "runtime",
	"labels", "env", "files",
}

// nativeMark returns a key that shows that t is of the native form, or "".
func nativeMark(t *table) string {
	for _, key := range nativeKeys {
		if t.has(key) {
			return key
		}
	}
	if vm, ok := t.values["vm"].(map[string]any); ok {
		if _, ok := vm["vmm"]; ok {
			return join("vm", "vmm")
		}
	}
	return ""
}

func decodeNative(t *table, opts DecodeOptions) *faas.Function {
	for _, key := range reserved {
		if t.get(key) != nil {
			t.problem(key, "key %q is reserved for work to come", key)
		}
	}
	fn := &faas.Function{
		Ref: opts.Ref, Form: faas.Native, Dir: opts.Dir,
		Sandbox:      nativeSandbox(t, opts.Sandboxes),
		Fallback:     nativeFallback(t, opts.Sandboxes),
		Image:        nativeImage(t, opts),
		Command:      nativeCommand(t),
		Port:         int(t.integer("port", 0, 1, math.MaxUint16)), // see NewRevision
		Concurrency:  int(t.integer("concurrency", 1, 1, 1_000_000)),
		Keepalive:    t.duration("keepalive", 60*time.Second, 0),
		MinInstances: int(t.integer("min-instances", 0, 0, 1_000_000)),
		MaxInstances: int(t.integer("max-instances", 0, 0, 1_000_000)),
		Queue:        int(t.integer("queue", 1000, 0, 10_000_000)),
		StartTimeout: t.duration("start-timeout", 25*time.Second, time.Millisecond),
		Timeout:      nativeTimeouts(t),
		Limits: faas.Limits{
			Memory: mebibyte * t.integer("memory", 128, 1, 1<<30),
			CPUs:   t.number("cpus", 1, 0.01, 4096),
			Pids:   int(t.integer("pids", 128, 1, 1<<22)),
			Disk:   mebibyte * t.integer("disk", 64, 1, 1<<30),
		},
		Egress:  nativeEgress(t),
		Ready:   nativeReady(t),
		Health:  nativeHealth(t, t.str("sandbox", defaultSandbox)),
		Runtime: nativeRuntime(t),
		Labels:  t.stringMap("labels", checkLabel),
		Env:     t.stringMap("env", checkEnv),
		Files:   nativeFiles(t, opts),
		VM:      nativeVM(t, opts),
	}
	if t.boolean("single-use") {
		fn.SingleUse = faas.GoAtOnce
	}
	t.refuseUnknown()
	checkNative(t, fn)
	return fn
}

// checkNative checks what concerns more than one key.
func checkNative(t *table, fn *faas.Function) {
	if fn.MaxInstances > 0 && fn.MinInstances > fn.MaxInstances {
		t.problem("min-instances", "min-instances = %d is over max-instances = %d", fn.MinInstances, fn.MaxInstances)
	}
	if fn.SingleUse != faas.Reuse && fn.Concurrency > 1 {
		t.problem("concurrency", "concurrency = %d contradicts single-use: such an instance serves one request", fn.Concurrency)
	}
	if fn.Fallback != "" && (fn.Fallback == fn.Sandbox || fn.Sandbox == "auto") {
		t.problem("fallback", "fallback = %q must be another sandbox than sandbox = %q", fn.Fallback, fn.Sandbox)
	}
	if fn.VM != nil && fn.Sandbox != "auto" && !isVM(fn.Sandbox) {
		t.problem("vm", "[vm] is only for the sandboxes linux, nanos and osv, not for %q", fn.Sandbox)
	}
	if fn.VM != nil && fn.VM.Root != "" && fn.Sandbox != "linux" {
		t.problem(join("vm", "root"), "root is only for the sandbox linux, not for %q", fn.Sandbox)
	}
	if fn.VM != nil && fn.VM.Vsock && fn.Sandbox == "linux" && fn.Health == faas.HealthTCP {
		t.problem("health", `health = "tcp" can't tell anything by vsock, where the guest's kernel answers; write "http:/path"`)
	}
	if fn.VM != nil && fn.VM.Vsock && fn.Sandbox != "linux" {
		t.problem(join("vm", "vsock"), "vsock is only for the sandbox linux, not for %q", fn.Sandbox)
	}
	if t.has("runtime") && fn.Sandbox != "auto" && fn.Sandbox != "runc" && fn.Sandbox != "docker" {
		t.problem("runtime", "runtime is only for the sandboxes runc and docker, not for %q", fn.Sandbox)
	}
	if isPath(fn.Runtime) && (fn.Sandbox == "docker" || fn.Sandbox == "auto") {
		t.problem("runtime", `runtime = %q is a path, which only sandbox = "runc" takes; Docker knows runtimes by the names in its daemon.json`, fn.Runtime)
	}
}

func isVM(sandbox string) bool { return sandbox == "linux" || sandbox == "nanos" || sandbox == "osv" }

// isUnikernel tells the sandboxes whose kernel nobody watches from inside.
func isUnikernel(sandbox string) bool { return sandbox == "nanos" || sandbox == "osv" }

const (
	defaultSandbox = "gvisor"
	defaultRuntime = "runc"
)

func nativeSandbox(t *table, sandboxes []string) string {
	name := t.str("sandbox", defaultSandbox)
	if name == "auto" || contains(sandboxes, name) {
		return name
	}
	t.problem("sandbox", "unknown sandbox %q%s; there are: auto, %s",
		name, suggest(name, append([]string{"auto"}, sandboxes...)), strings.Join(sandboxes, ", "))
	return name
}

// nativeFallback reads the key fallback: a sandbox by name, since "auto" could
// be the very one that fails.
func nativeFallback(t *table, sandboxes []string) string {
	name := t.str("fallback", "")
	if name != "" && !contains(sandboxes, name) {
		t.problem("fallback", "unknown sandbox %q%s; there are: %s", name, suggest(name, sandboxes), strings.Join(sandboxes, ", "))
	}
	return name
}

func contains(list []string, s string) bool {
	for _, e := range list {
		if e == s {
			return true
		}
	}
	return false
}

func nativeCommand(t *table) []string {
	command := t.strings("command")
	if len(command) > 0 && command[0] == "" {
		t.problem("command", "command[0] must name a program")
	}
	return command
}

func nativeTimeouts(t *table) faas.Timeouts {
	def := faas.Timeouts{FirstByte: 60 * time.Second, Idle: 60 * time.Second}
	switch t.get("timeout").(type) {
	case nil:
		return def
	case map[string]any:
		sub := t.sub("timeout")
		timeouts := faas.Timeouts{
			FirstByte: sub.duration("first-byte", def.FirstByte, 0),
			Idle:      sub.duration("idle", def.Idle, 0),
			Total:     sub.duration("total", 0, 0),
		}
		sub.refuseUnknown()
		return timeouts
	default:
		// One duration bounds the whole exchange; no part of it is cut shorter.
		d := t.duration("timeout", 0, 0)
		return faas.Timeouts{FirstByte: d, Idle: d, Total: d}
	}
}

func nativeVM(t *table, opts DecodeOptions) *faas.VM {
	sub := t.sub("vm")
	if sub == nil {
		return nil
	}
	vmms := []string{"firecracker", "qemu-microvm", "qemu"}
	vm := &faas.VM{VMM: sub.str("vmm", "")}
	if vm.VMM != "" && !contains(vmms, vm.VMM) {
		sub.problem("vmm", "unknown vmm %q%s; there are: %s", vm.VMM, suggest(vm.VMM, vmms), strings.Join(vmms, ", "))
	}
	if path := sub.str("cpu-config", ""); path != "" {
		if vm.VMM != "firecracker" {
			sub.problem("cpu-config", "cpu-config is a file of Firecracker's; write vmm = \"firecracker\", too")
		}
		vm.Hypervisor = map[string]any{"cpu-config": opts.absolute(path)}
	}
	if model := sub.str("cpu-model", ""); model != "" {
		if !strings.HasPrefix(vm.VMM, "qemu") {
			sub.problem("cpu-model", "cpu-model is an option of QEMU's; write vmm = \"qemu\" or \"qemu-microvm\", too")
		}
		vm.Hypervisor = map[string]any{"cpu-model": model}
	}
	if vm.Root = sub.str("root", ""); vm.Root != "" && !contains(vmRoots, vm.Root) {
		sub.problem("root", "unknown root %q%s; there are: %s", vm.Root, suggest(vm.Root, vmRoots), strings.Join(vmRoots, ", "))
	}
	vm.DiskRate = mebibyte * sub.integer("disk-rate", 0, 1, 1<<30)
	if vm.NetworkRate = mebibyte * sub.integer("network-rate", 0, 1, 1<<30); vm.NetworkRate > 0 && vm.VMM != "firecracker" {
		sub.problem("network-rate", "network-rate is bounded by Firecracker alone; write vmm = \"firecracker\", too")
	}
	if vm.Vsock = sub.boolean("vsock"); vm.Vsock {
		if vm.VMM != "firecracker" {
			sub.problem("vsock", "vsock is Firecracker's alone; write vmm = \"firecracker\", too")
		}
		if vm.NetworkRate > 0 {
			sub.problem("vsock", "with vsock there is no network whose rate could be bounded; remove network-rate or vsock")
		}
	}
	sub.refuseUnknown()
	return vm
}

// vmRoots are where a Linux guest may have the function's root.
var vmRoots = []string{"initial", "erofs", "ext4"}
