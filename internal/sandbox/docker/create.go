package docker

import (
	"maps"
	"slices"
	"strconv"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"

	"github.com/unifaas/unifaas/internal/faas"
)

const (
	defaultMemory = 128 << 20 // bytes
	defaultDisk   = 64 << 20  // bytes
	defaultPids   = 128
	// maxShared is Docker's default size of /dev/shm, in bytes.
	maxShared = 64 << 20
	// logSize bounds Docker's log of a container. It is read only when the
	// platform or the Engine was away: what was said meanwhile.
	logSize = "1m"
	// guestMemory and guestThreads are for a runtime's own kernel, in bytes and
	// in threads of the host: what the gVisor driver gives its own.
	guestMemory  = 48 << 20
	guestThreads = 64
)

// withDefaults fills in the limits that a function leaves to its sandbox. The
// artefact's form has only those that it names.
func withDefaults(fn *faas.Function) faas.Limits {
	l := fn.Limits
	if l.Memory == 0 {
		l.Memory = defaultMemory
	}
	if fn.Form == faas.Artefact {
		return l
	}
	if l.Disk == 0 {
		l.Disk = defaultDisk
	}
	if l.Pids == 0 {
		l.Pids = defaultPids
	}
	return l
}

// createOptions describes the container of an instance. callbackURL is its
// first argument in the artefact's form.
func (a *artifact) createOptions(node, id, image, callbackURL string) client.ContainerCreateOptions {
	config, host := a.native()
	if a.rev.Function.Form == faas.Artefact {
		config, host = a.artefact(callbackURL)
	}
	config.Image = image
	config.Labels = map[string]string{nodeLabel: node, idLabel: id}
	host.Runtime = a.rev.Function.Runtime
	host.LogConfig = container.LogConfig{Type: "json-file", Config: map[string]string{"max-size": logSize, "max-file": "1"}}
	host.RestartPolicy = container.RestartPolicy{Name: container.RestartPolicyDisabled}
	return client.ContainerCreateOptions{Name: id, Config: config, HostConfig: host}
}

// native is a container that gives a function nothing but what it names.
func (a *artifact) native() (*container.Config, *container.HostConfig) {
	fn, limits := &a.rev.Function, withDefaults(&a.rev.Function)
	pids, init := int64(limits.Pids), false
	config := &container.Config{
		Hostname:    fn.Ref.Name,
		Entrypoint:  fn.Command, // nil is the image's, with its arguments
		Env:         a.environ(),
		Healthcheck: &container.HealthConfig{Test: []string{"NONE"}},
	}
	if a.imported() {
		own := a.rev.Image.Config
		config.User, config.WorkingDir = own.User, own.WorkDir
		if len(fn.Command) == 0 {
			config.Entrypoint = own.Entrypoint
		}
	}
	host := &container.HostConfig{
		NetworkMode:    container.NetworkMode(network.NetworkNone),
		IpcMode:        container.IPCModePrivate,
		ReadonlyRootfs: true,
		CapDrop:        []string{"ALL"},
		SecurityOpt:    []string{"no-new-privileges"},
		Tmpfs:          a.tmpfs(limits.Disk),
		ShmSize:        min(limits.Disk, maxShared),
		Init:           &init,
		Resources: container.Resources{
			Memory:     limits.Memory,
			MemorySwap: limits.Memory, // memory and swap: so no swap
			PidsLimit:  &pids,
			NanoCPUs:   int64(min(limits.CPUs, float64(a.cpus)) * 1e9),
			Ulimits:    []*container.Ulimit{{Name: "core"}},
		},
	}
	if a.way == overBridge {
		host.NetworkMode = container.NetworkMode(a.network)
	}
	if a.guest {
		allowForKernel(&host.Resources, limits)
	}
	return config, host
}

// allowForKernel widens the limits for a runtime whose own kernel counts, too:
// those in function.toml are the function's own. Its processes are limited by
// that kernel, which has threads of the host for them and for itself.
func allowForKernel(r *container.Resources, limits faas.Limits) {
	pids := int64(limits.Pids)
	withThreads := pids + guestThreads
	r.Memory += guestMemory
	r.MemorySwap += guestMemory
	r.PidsLimit = &withThreads
	r.Ulimits = append(r.Ulimits, &container.Ulimit{Name: "nproc", Soft: pids, Hard: pids})
}

// environ is the function's environment. That of an image in Docker's own
// store comes from there.
func (a *artifact) environ() []string {
	if a.imported() {
		return a.rev.Environ()
	}
	env := a.rev.Function.Env
	var own []string
	for _, name := range slices.Sorted(maps.Keys(env)) {
		own = append(own, name+"="+env[name])
	}
	return own
}

// tmpfs bounds each place that can be written to: /tmp, and what the image
// declares as volumes, which would else be folders on the host's disk.
func (a *artifact) tmpfs(size int64) map[string]string {
	options := "rw,nosuid,nodev,exec,mode=1777,size=" + strconv.FormatInt(size, 10)
	places := map[string]string{"/tmp": options}
	for _, path := range a.volumes {
		places[path] = options
	}
	return places
}

// artefact is the container that the artefact made: Docker's defaults, the
// callback's address after the image's entrypoint, a limit of memory without
// swap, and pinned to processor 1.
func (a *artifact) artefact(callbackURL string) (*container.Config, *container.HostConfig) {
	memory := withDefaults(&a.rev.Function).Memory
	host := &container.HostConfig{
		NetworkMode: container.NetworkMode(network.NetworkDefault),
		Resources:   container.Resources{Memory: memory, MemorySwap: memory},
	}
	if a.cpus > 1 {
		host.CpusetCpus = "1"
	}
	return &container.Config{Cmd: []string{callbackURL}}, host
}

// imported reports whether the image is one of ours that Docker got from us.
func (a *artifact) imported() bool { return a.rev.Image.Rootfs != "" }

// checkRuntime returns an error if the Engine has no runtime called name.
func (i *engineInfo) checkRuntime(fn *faas.Function) error {
	if _, ok := i.Runtimes[fn.Runtime]; ok || fn.Runtime == "" {
		return nil
	}
	return faas.Errorf(faas.KindUnavailable, "function %q: Docker has no runtime %q, only %v; register it in /etc/docker/daemon.json",
		fn.Ref, fn.Runtime, slices.Sorted(maps.Keys(i.Runtimes)))
}
