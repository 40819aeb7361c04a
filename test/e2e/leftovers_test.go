package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/unifaas/unifaas/internal/host/leak"
)

// finish stops the platform if it runs, checks that nothing is left, and
// removes its folders.
func (p *platform) finish() error {
	var errs []error
	if p.running() {
		errs = append(errs, p.shutdown())
	}
	left, err := p.leftovers()
	errs = append(errs, err)
	for _, thing := range left {
		errs = append(errs, fmt.Errorf("left behind: %s", thing))
	}
	if len(left) > 0 {
		p.sweep()
	}
	return errors.Join(append(errs, os.RemoveAll(p.base))...)
}

// sweep ends the processes that a platform has left, so that one failure is
// not the cause of others.
func (p *platform) sweep() {
	if node, err := p.node(); err == nil && node != "" {
		for _, pid := range processesOf(node) {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	}
}

// leftovers lists what a platform that has ended should not have left on the
// host. Its state folder is meant to stay; of that only what is in nobody's
// use any more counts, such as half-made files.
func (p *platform) leftovers() ([]string, error) {
	scope := []leak.Option{leak.Under(p.run), leak.Under(p.tmp), leak.NamedUnder(p.state)}
	node, err := p.node()
	if err != nil {
		return nil, err
	}
	if node != "" {
		scope = append(scope, leak.Named(node))
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	return leak.Settle(ctx, p.kept(), scope...)
}

// node returns the platform's id, "" before its first start.
func (p *platform) node() (string, error) {
	id, err := os.ReadFile(filepath.Join(p.state, "node-id"))
	if errors.Is(err, os.ErrNotExist) {
		return "", nil
	}
	return strings.TrimSpace(string(id)), err
}

// kept is what may stay: the locks' files, the folder of instances, and the
// instances' logs.
func (p *platform) kept() leak.State {
	state := leak.State{}
	for _, path := range []string{filepath.Join(p.run, "lock"), filepath.Join(p.run, "instances")} {
		state["file "+path]++
	}
	logs, _ := filepath.Glob(filepath.Join(p.state, "logs", "*", "*"))
	removed, _ := filepath.Glob(filepath.Join(p.state, "logs", ".removed", "*", "*"))
	for _, path := range append(logs, removed...) {
		state["file "+path]++
	}
	return state
}
