package main

import (
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/lmittmann/tint"
	"golang.org/x/sys/unix"

	"github.com/unifaas/unifaas/internal/config"
	"github.com/unifaas/unifaas/internal/faas"
	"github.com/unifaas/unifaas/internal/host/thread"
	"github.com/unifaas/unifaas/internal/node"
)

type upCmd struct {
	config.Config
}

// threads is how many the platform has from the beginning: enough for every
// system call that blocks at one time, under any load.
const threads = 48

func (c *upCmd) Run(e *env) error {
	// Bodies and heads live in reused buffers: the heap is small and a
	// tighter collector costs little, against half of it in memory.
	debug.SetGCPercent(50)
	thread.Reserve(threads)
	logger, err := newLogger(c.LogLevel, c.LogFormat)
	if err != nil {
		return err
	}
	exe, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find the path of unifaas: %w", err)
	}
	n, err := node.New(node.Options{
		Config: c.Config, Dirs: e.dirs, Exe: exe, Version: version, Logger: logger, Drivers: drivers(c.Sandboxes, e.dirs),
	})
	if err != nil {
		return err
	}
	defer abortOnSecondSignal()()
	return n.Run(e.ctx)
}

// abortOnSecondSignal ends the process at once when a second signal comes:
// the first has begun the stop. Instances then live on and are recovered by
// the next run. The function returned ends the watch.
func abortOnSecondSignal() func() {
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	go func() {
		count := 0
		for range signals {
			if count++; count == 2 {
				os.Exit(exitCodes[faas.KindCanceled])
			}
		}
	}()
	return func() { signal.Stop(signals); close(signals) }
}

func newLogger(level, format string) (*slog.Logger, error) {
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		return nil, faas.Errorf(faas.KindInvalid, "log-level: %w", err)
	}
	if format == "text" || format == "auto" && isTerminal(os.Stderr) {
		return slog.New(tint.NewTextHandler(os.Stderr, &tint.Options{
			Level: l, TimeFormat: time.TimeOnly + ".000", NoColor: !isTerminal(os.Stderr),
		})), nil
	}
	return slog.New(slog.NewJSONHandler(os.Stderr, &slog.HandlerOptions{Level: l})), nil
}

func isTerminal(f *os.File) bool {
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}
