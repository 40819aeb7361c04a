package catalog_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/unifaas/unifaas/internal/catalog"
	"github.com/unifaas/unifaas/internal/faas"
)

func artefact() *faas.Function {
	return &faas.Function{
		Ref: faas.NewRef("f"), Form: faas.Artefact, Dir: "/srv/functions/f",
		Port: 8080, Concurrency: 4, Keepalive: 30 * time.Second, Queue: 1000, StartTimeout: 25 * time.Second,
		Timeout: faas.Timeouts{FirstByte: time.Minute, Idle: time.Minute},
		Ready:   faas.Ready{Kind: faas.ReadyCallback},
	}
}

func TestDecodeArtefactVM(t *testing.T) {
	got, err := decode(`
keepalive = 30
concurrent-requests = 4

[vm]
kernel = "vmlinux"
image = "../../targets/x.img"
memory = 512
cpus = 2
cmdline = "ip=%ip gw=%gateway mask=%netmask cb=%callback"
hypervisor = { type = "microvm", disk-type = "block", acpi = true, auto-kernel-cmdline = false }
`)
	if err != nil {
		t.Fatal(err)
	}
	want := artefact()
	want.Sandbox = catalog.SandboxRawVM
	want.Limits = faas.Limits{Memory: 512 * mebibyte, CPUs: 2}
	want.VM = &faas.VM{
		VMM: "qemu-microvm", Kernel: "/srv/functions/f/vmlinux", Image: "/srv/targets/x.img",
		Cmdline: "ip=%ip gw=%gateway mask=%netmask cb=%callback",
		Hypervisor: map[string]any{
			"type": "microvm", "disk-type": "block", "acpi": true, "auto-kernel-cmdline": false,
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error("decoded (-want +got):\n", diff)
	}
}

func TestDecodeArtefactContainer(t *testing.T) {
	got, err := decode(`
keepalive = 30
concurrent-requests = 4
single-use = true
[container]
image = "faas-go"
runtime = "runsc"
`)
	if err != nil {
		t.Fatal(err)
	}
	want := artefact()
	want.Sandbox, want.Runtime = "docker", "runsc"
	want.SingleUse, want.Concurrency = faas.StayIdle, 1
	want.Image = faas.ImageSource{Scheme: "registry", Location: "faas-go"}
	want.Limits = faas.Limits{Memory: 128 * mebibyte, CPUs: 1}
	want.Container = &faas.Container{Image: "faas-go", Runtime: "runsc"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error("decoded (-want +got):\n", diff)
	}
}

// What a bundle has of its own it may name, and it is found there.
func TestArtefactContainedProcessor(t *testing.T) {
	const text = `
keepalive = 1
concurrent-requests = 1
[vm]
kernel = "k"
image = "i"
cmdline = ""
hypervisor = { type = "firecracker", cpu-config = "cpu.json" }
`
	fn, err := catalog.Decode([]byte(text), catalog.DecodeOptions{Ref: faas.NewRef("f"), Dir: "/bundle", Contained: true})
	if err != nil {
		t.Fatal(err)
	}
	if got := fn.VM.Hypervisor["cpu-config"]; got != "/bundle/cpu.json" {
		t.Errorf("cpu-config is %v", got)
	}
}
