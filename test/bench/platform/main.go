// Command platform is the platform with one sandbox that is none: it starts a
// function as a plain process and reaches it over TCP on loopback. Only the
// benchmark uses it, to compare the gateway and the pool with other proxies
// over the same transport; everything else is as in the product.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net/http"
	_ "net/http/pprof" // for the listener of -pprof, on the default mux
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/unifaas/unifaas/internal/config"
	"github.com/unifaas/unifaas/internal/node"
	"github.com/unifaas/unifaas/internal/sandbox"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "platform:", err)
		os.Exit(1)
	}
}

func run() error {
	debug.SetGCPercent(50) // as `unifaas up` does
	var c config.Config
	var dirs config.Dirs
	flag.StringVar(&c.Functions, "functions", "", "folder of functions")
	flag.StringVar(&c.Listen, "listen", "127.0.0.1:0", "address of the gateway")
	flag.StringVar(&c.AdminListen, "admin-listen", "127.0.0.1:0", "address of /metrics")
	flag.StringVar(&dirs.StateDir, "state-dir", "", "folder of what lasts")
	flag.StringVar(&dirs.RunDir, "run-dir", "", "folder of what does not")
	profile := flag.String("pprof", "", "address of net/http/pprof; empty turns it off")
	flag.Parse()
	c.DrainTimeout = config.Duration(30 * time.Second)
	for _, dir := range []*string{&c.Functions, &dirs.StateDir, &dirs.RunDir} {
		if *dir == "" {
			return errors.New("-functions, -state-dir and -run-dir are needed")
		}
		abs, err := filepath.Abs(*dir)
		if err != nil {
			return err
		}
		*dir = abs
	}
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	if *profile != "" {
		go serveProfiles(*profile)
	}
	n, err := node.New(node.Options{
		Config: c, Dirs: dirs, Exe: exe, Version: "benchmark",
		Drivers: func(sandbox.Host) []sandbox.Driver { return []sandbox.Driver{driver{}} },
		Logger:  slog.New(slog.NewJSONHandler(os.Stderr, nil)),
	})
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	return n.Run(ctx)
}

func serveProfiles(address string) {
	err := http.ListenAndServe(address, nil)
	fmt.Fprintln(os.Stderr, "platform: serve profiles:", err)
}
