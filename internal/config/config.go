// Package config is the platform's configuration: what can be set, where it
// comes from (unifaas.toml, the environment, flags; the later the stronger)
// and which values are possible. It starts nothing.
package config

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/pelletier/go-toml/v2"

	"github.com/unifaas/unifaas/internal/faas"
)

// Config configures one platform. The kong tags make it the flags of
// `unifaas up`; every flag NAME is also the key NAME of unifaas.toml and the
// environment variable UNIFAAS_NAME.
type Config struct {
	Functions   string `toml:"functions" env:"UNIFAAS_FUNCTIONS" placeholder:"DIR" help:"Folder of functions to serve and watch; each is DIR/NAME/function.toml."`
	Listen      string `toml:"listen" env:"UNIFAAS_LISTEN" default:"127.0.0.1:8123" help:"Address of the gateway. Loopback unless you open it."`
	AdminListen string `toml:"admin-listen" env:"UNIFAAS_ADMIN_LISTEN" default:"127.0.0.1:8124" help:"Address of /metrics, /healthz and /readyz; empty turns them off."`

	ControlGroup string `toml:"control-group" env:"UNIFAAS_CONTROL_GROUP" help:"Group that may use the control socket beside its owner."`

	MaxBody          int      `toml:"max-body" env:"UNIFAAS_MAX_BODY" default:"0" help:"Largest request body in MiB; 0 is no limit."`
	MaxConnections   int      `toml:"max-connections" env:"UNIFAAS_MAX_CONNECTIONS" default:"0" help:"Client connections at once; 0 is as many as open files allow."`
	ReserveMemory    int      `toml:"reserve-memory" env:"UNIFAAS_RESERVE_MEMORY" default:"0" help:"Memory in MiB that instances must leave to the machine; 0 is a twentieth of it."`
	StartParallelism int      `toml:"start-parallelism" env:"UNIFAAS_START_PARALLELISM" default:"0" help:"Instances that may be starting at once; 0 is chosen from the processors."`
	DrainTimeout     Duration `toml:"drain-timeout" env:"UNIFAAS_DRAIN_TIMEOUT" default:"30s" help:"How long requests may take to finish when the platform stops."`

	LogLevel  string `toml:"log-level" env:"UNIFAAS_LOG_LEVEL" default:"info" enum:"debug,info,warn,error" help:"Least severity that is logged: debug, info, warn or error."`
	LogFormat string `toml:"log-format" env:"UNIFAAS_LOG_FORMAT" default:"auto" enum:"auto,text,json" help:"Form of the log: text, json, or auto (text on a terminal, else json)."`

	Sandboxes
}

// Sandboxes are the operator's choices for each kind of sandbox.
type Sandboxes struct {
	GVisor   GVisor   `toml:"gvisor" embed:"" prefix:"gvisor-"`
	Docker   Docker   `toml:"docker" embed:"" prefix:"docker-"`
	Machines Machines `toml:"machines" embed:"" prefix:"machines-"`
	Assets   Assets   `toml:"assets" embed:"" prefix:"assets-"`
}

// GVisor is the operator's part of the gvisor sandbox, [gvisor] in
// unifaas.toml.
type GVisor struct {
	Network string `toml:"network" env:"UNIFAAS_GVISOR_NETWORK" default:"netstack" enum:"netstack,host" help:"Network stack of gVisor's instances: its own (netstack), or the host's in a namespace of loopback only (host): twice as fast, but shows functions the host's TCP stack."`
}

// Docker is the operator's part of the docker sandbox, [docker] in
// unifaas.toml.
type Docker struct {
	Host string `toml:"host" env:"UNIFAAS_DOCKER_HOST" placeholder:"ADDRESS" help:"Address of the Docker Engine on this machine, for instance unix:///run/docker.sock. Default: DOCKER_HOST of the environment, or else Docker's own."`
}

// Machines is the operator's part of all sandboxes that are virtual machines,
// [machines] in unifaas.toml.
type Machines struct {
	Kernels string `toml:"kernels" env:"UNIFAAS_MACHINES_KERNELS" placeholder:"DIR" help:"Folder of the kernels that Linux guests boot. Default: the folder kernels in the state folder, where unifaas kernel puts them."`
}

// Assets are where the operator's files for unikernels are, [assets] in
// unifaas.toml. They are stronger than what unifaas assets has added.
type Assets struct {
	Nanos string `toml:"nanos" env:"UNIFAAS_NANOS_DIR" placeholder:"DIR" help:"Folder of a release of Nanos: kernel.img and boot.img. Default: what unifaas assets has added, or the release that ops has in ~/.ops."`
	OSv   string `toml:"osv" env:"UNIFAAS_OSV_LOADER" name:"osv" placeholder:"FILE" help:"OSv's kernel, loader-stripped.elf. Default: what unifaas assets has added."`
}

// A Duration is written as in "1m30s".
type Duration time.Duration

// UnmarshalText implements [encoding.TextUnmarshaler].
func (d *Duration) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(string(text))
	if err == nil && v < 0 {
		err = fmt.Errorf("duration %q is below 0", text)
	}
	*d = Duration(v)
	return err
}

// Dirs are the folders of one platform.
type Dirs struct {
	StateDir string `toml:"state-dir" env:"UNIFAAS_STATE_DIR" placeholder:"DIR" help:"Folder of what lasts: images, logs, the node id. Default: ${state_dir}"`
	RunDir   string `toml:"run-dir" env:"UNIFAAS_RUN_DIR" placeholder:"DIR" help:"Folder of what does not outlive the machine: instances, the control socket. Default: ${run_dir}"`
}

// file is unifaas.toml.
type file struct {
	Config
	Dirs
}

// DefaultDirs returns where the platform keeps things unless told otherwise:
// the system's folders for root, the user's (XDG Base Directory
// Specification) for others.
func DefaultDirs() Dirs {
	if os.Geteuid() == 0 {
		return Dirs{"/var/lib/unifaas", "/run/unifaas"}
	}
	state := os.Getenv("XDG_STATE_HOME")
	if state == "" {
		state = filepath.Join(home(), ".local", "state")
	}
	run := os.Getenv("XDG_RUNTIME_DIR")
	if run == "" {
		// Not /tmp itself: a name that others can guess could be taken.
		run = filepath.Join(state, "unifaas")
	}
	return Dirs{filepath.Join(state, "unifaas"), filepath.Join(run, "unifaas-run")}
}

// DefaultPath returns where unifaas.toml is looked for.
func DefaultPath() string {
	if os.Geteuid() == 0 {
		return "/etc/unifaas/unifaas.toml"
	}
	if dir := os.Getenv("XDG_CONFIG_HOME"); dir != "" {
		return filepath.Join(dir, "unifaas", "unifaas.toml")
	}
	return filepath.Join(home(), ".config", "unifaas", "unifaas.toml")
}

func home() string {
	if dir, err := os.UserHomeDir(); err == nil {
		return dir
	}
	return "/nonexistent"
}

// Load reads unifaas.toml at path and returns its values by flag name, as
// strings. A missing file is an error only when required. Unknown keys and
// wrong types are errors with file, line and column.
func Load(path string, required bool) (map[string]string, error) {
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) && !required {
		return nil, nil
	}
	if err != nil {
		return nil, faas.Errorf(faas.KindInvalid, "read configuration: %w", err)
	}
	return parse(path, raw)
}

func parse(path string, raw []byte) (map[string]string, error) {
	dec := toml.NewDecoder(strings.NewReader(string(raw)))
	dec.DisallowUnknownFields()
	var typed file
	if err := dec.Decode(&typed); err != nil {
		return nil, position(path, err)
	}
	var set map[string]any
	if err := toml.Unmarshal(raw, &set); err != nil {
		return nil, position(path, err)
	}
	values := map[string]string{}
	flatten(values, "", set)
	return values, nil
}

func flatten(into map[string]string, prefix string, from map[string]any) {
	for key, value := range from {
		if table, ok := value.(map[string]any); ok {
			flatten(into, prefix+key+"-", table)
			continue
		}
		into[prefix+key] = fmt.Sprint(value)
	}
}

func position(path string, err error) error {
	var strict *toml.StrictMissingError
	if errors.As(err, &strict) && len(strict.Errors) > 0 {
		first := strict.Errors[0]
		row, col := first.Position()
		return faas.Errorf(faas.KindInvalid, "%s:%d:%d: unknown key %q; see `unifaas up --help` for what can be set", path, row, col, strings.Join(first.Key(), "."))
	}
	var decode *toml.DecodeError
	if errors.As(err, &decode) {
		row, col := decode.Position()
		return faas.Errorf(faas.KindInvalid, "%s:%d:%d: %s", path, row, col, decode.Error())
	}
	return faas.Errorf(faas.KindInvalid, "%s: %w", path, err)
}

// Validate checks what the parsers of flags and files cannot.
func (c *Config) Validate() error { return c.validate(os.Geteuid()) }

func (c *Config) validate(uid int) error {
	if c.GVisor.Network == "host" && uid != 0 {
		return faas.Errorf(faas.KindInvalid, "gvisor-network: \"host\" is for root only, since others may not dial into network namespaces; run as root or choose \"netstack\"")
	}
	for name, address := range map[string]string{"listen": c.Listen, "admin-listen": c.AdminListen} {
		if address == "" && name == "admin-listen" {
			continue
		}
		if _, _, err := net.SplitHostPort(address); err != nil {
			return faas.Errorf(faas.KindInvalid, "%s: %q is no address; write host:port, for instance 127.0.0.1:8123", name, address)
		}
	}
	for name, n := range map[string]int{
		"max-body": c.MaxBody, "max-connections": c.MaxConnections,
		"reserve-memory": c.ReserveMemory, "start-parallelism": c.StartParallelism,
	} {
		if n < 0 {
			return faas.Errorf(faas.KindInvalid, "%s: %d is below 0", name, n)
		}
	}
	return nil
}
