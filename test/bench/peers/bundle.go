package peers

import (
	"encoding/json"
	"os"
	"path/filepath"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/unifaas/unifaas/internal/faas"
	"github.com/unifaas/unifaas/internal/oci"
)

// The platform adds these to a function's limits for the sandbox kernel's own
// needs; a peer with less room would be at a disadvantage.
const (
	extraMemory = 48 << 20
	extraPids   = 64
)

// writeBundle writes the config.json of one sandbox: the specification that
// the platform makes of the same revision, with the namespaces and the limits
// that the platform sets by itself.
func writeBundle(dir string, rev *faas.Revision, cgroup, netns string) error {
	spec, err := oci.Spec(rev, oci.Options{
		Rootfs: rev.Image.Rootfs,
		Tmp:    specs.Mount{Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "nodev", "mode=1777"}},
	})
	if err != nil {
		return err
	}
	limits := rev.Function.Limits
	memory, pids := limits.Memory+extraMemory, int64(limits.Pids+extraPids)
	period := uint64(100_000) // microseconds
	quota := int64(limits.CPUs * float64(period))
	spec.Linux = &specs.Linux{
		CgroupsPath: cgroup,
		Namespaces: []specs.LinuxNamespace{
			{Type: specs.PIDNamespace}, {Type: specs.IPCNamespace}, {Type: specs.UTSNamespace}, {Type: specs.MountNamespace},
			{Type: specs.NetworkNamespace, Path: netns},
		},
		Resources: &specs.LinuxResources{
			Memory: &specs.LinuxMemory{Limit: &memory},
			CPU:    &specs.LinuxCPU{Quota: &quota, Period: &period},
			Pids:   &specs.LinuxPids{Limit: pids},
		},
	}
	text, err := json.Marshal(spec)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "config.json"), text, 0o600)
}
