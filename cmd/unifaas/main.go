// Command unifaas is the platform, its command line, and, when it re-executes
// itself, the gVisor runtime.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"

	"github.com/unifaas/unifaas/internal/config"
	"github.com/unifaas/unifaas/internal/control"
	"github.com/unifaas/unifaas/internal/faas"
	"github.com/unifaas/unifaas/internal/host/process"
	"github.com/unifaas/unifaas/internal/sandbox/gvisor"
)

// version is set by the linker.
var version = "dev"

// cli is the command line.
type cli struct {
	ConfigFile string `name:"config" env:"UNIFAAS_CONFIG" placeholder:"FILE" help:"Configuration file. Default: ${config_file}, if it exists."`
	config.Dirs

	Up       upCmd       `cmd:"" help:"Run the platform in the foreground."`
	Invoke   invokeCmd   `cmd:"" help:"Send one request to a function and print the response."`
	Deploy   deployCmd   `cmd:"" help:"Deploy a function: a folder with a function.toml, an image, or a program."`
	Rollback rollbackCmd `cmd:"" help:"Serve the deployment before the current one again."`
	Delete   deleteCmd   `cmd:"" help:"Delete a function that was deployed."`
	Image    imageCmd    `cmd:"" help:"Pull, list and prune images; build and inspect those of virtual machines."`
	List     listCmd     `cmd:"" help:"List the functions."`
	Describe describeCmd `cmd:"" help:"Show everything about a function: configuration, instances, last failures."`
	Ps       psCmd       `cmd:"" help:"List the instances."`
	Logs     logsCmd     `cmd:"" help:"Print what a function's instances wrote."`
	Kernel   kernelCmd   `cmd:"" help:"Get, build and list the kernels that Linux guests boot."`
	Assets   assetsCmd   `cmd:"" help:"Add, list and remove the kernels of unikernels, which the platform does not bring."`
	Lab      labCmd      `cmd:"" help:"Measure this machine's sandboxes as the paper did."`
	Doctor   doctorCmd   `cmd:"" help:"Tell which sandboxes work on this machine, and what would change that."`
	Version  versionCmd  `cmd:"" help:"Print the version."`
}

// env is what every command runs with.
type env struct {
	ctx    context.Context
	stdin  io.Reader
	stdout io.Writer
	stderr io.Writer
	dirs   config.Dirs
}

func (e *env) client() *control.Client { return control.NewClient(e.dirs.RunDir) }

func main() {
	gvisor.Dispatch() // first of all: returns only if this process is not gVisor
	process.KeepInherited(3)
	os.Exit(run(os.Args[1:]))
}

// run executes one command line and returns the process's exit code.
func run(args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	var c cli
	parser, err := newParser(&c, args)
	if err != nil {
		return fail(os.Stderr, err)
	}
	kctx, err := parser.Parse(args)
	if err != nil {
		return fail(os.Stderr, &faas.Error{Kind: faas.KindInvalid, Message: err.Error() + "; see unifaas --help", Err: err})
	}
	dirs, err := absolute(c.Dirs)
	if err != nil {
		return fail(os.Stderr, err)
	}
	err = kctx.Run(&env{ctx, os.Stdin, os.Stdout, os.Stderr, dirs})
	return fail(os.Stderr, err)
}

func newParser(c *cli, args []string) (*kong.Kong, error) {
	defaults := config.DefaultDirs()
	file, err := configFile(args)
	if err != nil {
		return nil, err
	}
	return kong.New(c,
		kong.Name("unifaas"),
		kong.Description("Functions in the sandbox that suits them, on machines at the edge."),
		kong.UsageOnError(),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}),
		kong.Vars{"state_dir": defaults.StateDir, "run_dir": defaults.RunDir, "config_file": config.DefaultPath()},
		kong.Resolvers(fileValues(file)),
	)
}

// configFile loads unifaas.toml. Its flag is looked for by hand, since what
// the file holds takes part in the parsing of all flags.
func configFile(args []string) (map[string]string, error) {
	path, required := os.Getenv("UNIFAAS_CONFIG"), true
	for i, arg := range args {
		if value, ok := strings.CutPrefix(arg, "--config="); ok {
			path = value
		} else if arg == "--config" && i+1 < len(args) {
			path = args[i+1]
		}
	}
	if path == "" {
		path, required = config.DefaultPath(), false
	}
	return config.Load(path, required)
}

// fileValues gives flags the values of unifaas.toml, unless the environment,
// which is stronger, sets them.
func fileValues(values map[string]string) kong.Resolver {
	return kong.ResolverFunc(func(_ *kong.Context, _ *kong.Path, flag *kong.Flag) (any, error) {
		for _, name := range flag.Envs {
			if _, ok := os.LookupEnv(name); ok {
				return nil, nil
			}
		}
		if v, ok := values[flag.Name]; ok {
			return v, nil
		}
		return nil, nil
	})
}

// absolute fills in the default folders and makes the paths independent of
// the working folder.
func absolute(d config.Dirs) (config.Dirs, error) {
	defaults := config.DefaultDirs()
	if d.StateDir == "" {
		d.StateDir = defaults.StateDir
	}
	if d.RunDir == "" {
		d.RunDir = defaults.RunDir
	}
	for _, dir := range []*string{&d.StateDir, &d.RunDir} {
		abs, err := filepath.Abs(*dir)
		if err != nil {
			return d, fmt.Errorf("resolve folder %q: %w", *dir, err)
		}
		*dir = abs
	}
	return d, nil
}
