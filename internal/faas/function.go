package faas

import (
	"fmt"
	"regexp"
	"strings"
	"time"
)

// DefaultNamespace is the namespace of a function that names none.
const DefaultNamespace = "default"

// A Ref names a function. Both parts are valid by [ValidName].
type Ref struct {
	Namespace string
	Name      string
}

// NewRef returns the reference of a function in the default namespace.
func NewRef(name string) Ref { return Ref{Namespace: DefaultNamespace, Name: name} }

// String returns "name" in the default namespace and "namespace/name" elsewhere.
func (r Ref) String() string {
	if r.Namespace == "" || r.Namespace == DefaultNamespace {
		return r.Name
	}
	return r.Namespace + "/" + r.Name
}

var nameRE = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$`)

// ValidName reports whether s can name a function or a namespace: 1 to 63
// letters, digits, dots, underscores and hyphens, beginning and ending with a
// letter or a digit.
func ValidName(s string) bool { return nameRE.MatchString(s) }

// Form says in which form a function was written.
type Form int

const (
	// Native is UniFaaS's own form of function.toml.
	Native Form = iota
	// Artefact is the form of the paper's artefact
	// (OpenFogStack/unikernel-edge-faas).
	Artefact
)

func (f Form) String() string {
	if f == Artefact {
		return "artefact"
	}
	return "native"
}

// SingleUse says what happens to an instance after its first request.
type SingleUse int

const (
	// Reuse lets an instance serve requests until its keepalive ends.
	Reuse SingleUse = iota
	// GoAtOnce stops an instance as soon as its only request is answered.
	GoAtOnce
	// StayIdle keeps an instance, never reused, until its keepalive ends.
	StayIdle
)

func (s SingleUse) String() string {
	return [...]string{"reuse", "go-at-once", "stay-idle"}[s]
}

// ReadyKind says how an instance shows that it can serve.
type ReadyKind int

const (
	// ReadyPort: the function accepts connections on its port.
	ReadyPort ReadyKind = iota
	// ReadyCallback: the function calls the platform back, then accepts.
	ReadyCallback
	// ReadyHTTP: a GET of Ready.Path answers with a status below 400.
	ReadyHTTP
)

// Ready is the readiness condition of a function.
type Ready struct {
	Kind ReadyKind
	Path string // only for ReadyHTTP
}

// HealthTCP is the health check that is content with a connection: it finds a
// guest whose kernel has died, which nothing on the host tells of.
const HealthTCP = "tcp"

// Timeouts bound one request. Zero means unbounded.
type Timeouts struct {
	FirstByte time.Duration // from the request's dispatch to the response's first byte
	Idle      time.Duration // without a byte in either direction
	Total     time.Duration // for the whole exchange
}

// Limits bound one instance. Zero means the sandbox's default.
type Limits struct {
	Memory int64   // bytes
	CPUs   float64 // cores
	Pids   int     // processes and threads
	Disk   int64   // bytes of writable space
}

// ImageSource says where a function's root file system comes from.
type ImageSource struct {
	Scheme   string // "file", "dir", "oci", "docker-archive", "registry"
	Location string // absolute path, or a registry reference
}

func (s ImageSource) String() string {
	if s.Scheme == "registry" {
		return s.Location
	}
	return s.Scheme + ":" + s.Location
}

// VM configures the sandboxes that run a virtual machine.
type VM struct {
	VMM    string // firecracker, qemu-microvm, qemu; "" is the best that works
	Kernel string // artefact form: absolute path of a kernel
	Image  string // artefact form: absolute path of a raw disk
	// Cmdline is the kernel's command line with the placeholders %ip,
	// %gateway, %netmask and %callback.
	Cmdline    string
	Hypervisor map[string]any // artefact form: the hypervisor's options as written
	// Root says where a Linux guest has the function's root: "initial", "erofs",
	// "ext4", or "" for what suits its size.
	Root string `json:",omitempty"`
	// Vsock says that a Linux guest has no network: requests come by vsock.
	Vsock bool `json:",omitempty"`
	// DiskRate bounds what goes to and from each disk, NetworkRate the network
	// in each direction, bytes per second; 0 is unbounded.
	DiskRate    int64 `json:",omitempty"`
	NetworkRate int64 `json:",omitempty"`
}

// Container configures the docker sandbox in the artefact's form.
type Container struct {
	Image   string
	Runtime string
}

// Sandboxes returns the sandboxes of the platform's design, in this build or
// not: what a function may name.
func Sandboxes() []string {
	return []string{"gvisor", "container", "runc", "docker", "linux", "nanos", "osv"}
}

// A Function is one function's configuration, resolved: defaults filled in,
// paths absolute, ranges checked. It is never changed once built; share it
// freely.
type Function struct {
	Ref  Ref
	Form Form
	Dir  string // absolute folder of its function.toml; "" when deployed otherwise

	Sandbox string // gvisor, container, runc, docker, linux, nanos, osv, auto
	// Fallback is the sandbox that serves while Sandbox keeps failing; "" is
	// none.
	Fallback string `json:",omitempty"`
	Image    ImageSource
	Command  []string // argv; empty means the image's entrypoint
	Port     int      // TCP port on which the function serves HTTP/1.1; 0, until it is bound to its image, is that one's

	Concurrency  int // requests that one instance handles at once, at least 1
	SingleUse    SingleUse
	Keepalive    time.Duration
	MinInstances int
	MaxInstances int // 0: as the machine allows
	Queue        int // requests that may wait
	StartTimeout time.Duration
	Timeout      Timeouts
	Limits       Limits

	Egress  []string
	Ready   Ready
	Health  string // how idle instances are checked: the path of a GET, HealthTCP, or "" for not at all
	Runtime string
	Labels  map[string]string
	Env     map[string]string
	Files   map[string]string // inside, absolute -> outside, absolute

	VM        *VM
	Container *Container
}

// ImageConfig is what an image says about running it. Commands and
// environment of a Function are stronger.
type ImageConfig struct {
	Entrypoint []string `json:"entrypoint,omitempty"`
	Env        []string `json:"env,omitempty"` // NAME=value
	User       string   `json:"user,omitempty"`
	WorkDir    string   `json:"workdir,omitempty"`
	Port       int      `json:"port,omitempty"`
}

// An Image is a function's root file system, resolved to content.
type Image struct {
	Digest string // "sha256:..." of everything the function will see
	Rootfs string // absolute folder, read-only by convention; "" when the sandbox keeps its own images
	// Kept is what such a sandbox knows the image by: a reference with a
	// digest, or an ID in its own store, "sha256:...". Config then has the port
	// alone; the rest is the sandbox's to know.
	Kept   string `json:",omitempty"`
	Config ImageConfig
}

// Kept is an image in a sandbox's own store.
type Kept struct {
	ID        string // "sha256:..." in that store
	Reference string // with a digest, by which a registry has it; "" when none does
	Port      int    // that it exposes; 0 for none
}

// A Revision is a Function bound to the content of its image. It is
// immutable: a change of either makes another revision. In-flight requests
// finish on the revision they started with.
type Revision struct {
	Function Function
	Image    Image
	Digest   string // "sha256:..." over the resolved configuration and the image
	// Fallback is the same function in its fallback sandbox, nil without one.
	// It has no fallback itself and is never kept warm.
	Fallback *Revision `json:",omitempty"`
}

// ID is the short name of a revision for people, logs and file names: the
// first 12 hexadecimal digits of its digest.
func (r *Revision) ID() string {
	d := strings.TrimPrefix(r.Digest, "sha256:")
	if len(d) > 12 {
		d = d[:12]
	}
	return d
}

// Argv returns the command that an instance of r runs, or an error when
// neither the function nor its image names one.
func (r *Revision) Argv() ([]string, error) {
	if len(r.Function.Command) > 0 {
		return r.Function.Command, nil
	}
	if len(r.Image.Config.Entrypoint) > 0 {
		return r.Image.Config.Entrypoint, nil
	}
	return nil, Errorf(KindInvalid, "function %q: its image names no entrypoint; set command", r.Function.Ref)
}

// Environ returns the environment of an instance of r as sorted NAME=value
// strings: the image's, then the function's, and PATH where neither sets it.
func (r *Revision) Environ() []string {
	return mergeEnv(r.Image.Config.Env, r.Function.Env)
}

func (r *Revision) String() string { return fmt.Sprintf("%s@%s", r.Function.Ref, r.ID()) }
