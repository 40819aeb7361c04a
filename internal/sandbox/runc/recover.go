package runc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/unifaas/unifaas/internal/faas"
	"github.com/unifaas/unifaas/internal/host/boot"
	"github.com/unifaas/unifaas/internal/host/process"
	"github.com/unifaas/unifaas/internal/sandbox"
)

// Recover takes an instance over, or cleans up after it and returns
// [sandbox.ErrGone].
func (d *Driver) Recover(ctx context.Context, rec sandbox.Record) (sandbox.Instance, error) {
	var st state
	if len(rec.State) > 0 {
		if err := json.Unmarshal(rec.State, &st); err != nil {
			return nil, fmt.Errorf("recover instance %q: its record is broken: %w", rec.ID, err)
		}
	}
	if !boot.IsCurrent(rec.BootID) {
		// All of it ended with that boot; the names may mean others by now.
		st = state{}
	}
	i, err := d.remains(rec, st)
	if err != nil {
		return nil, fmt.Errorf("recover instance %q: %w", rec.ID, err)
	}
	// The platform may have been killed between the record and the rest.
	if rec.Revision != nil && st.Pid != 0 && i.process != nil && i.connect(rec.Revision.Function.Limits.CPUs) == nil && i.netns != nil {
		i.watch()
		return i, nil
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := i.release(ctx); err != nil {
		return nil, err
	}
	return nil, sandbox.ErrGone
}

// remains puts together what a record names and what there still is of it. A
// start that was cut off before its process was recorded has it in its pid
// file at most.
func (d *Driver) remains(rec sandbox.Record, st state) (*instance, error) {
	rev := rec.Revision
	if rev == nil {
		rev = &faas.Revision{}
	}
	i := newInstance(d, rec.ID, rec.Dir, rev)
	i.memory = st.Memory
	if st.Runtime != "" {
		i.runtime = d.recordedRuntime(st.Runtime)
	}
	if st.Cgroup == "" {
		return i, nil
	}
	var err error
	if i.group, err = d.groups.Open(st.Cgroup); err != nil {
		return nil, err
	}
	if id, ok := st.identity(); ok {
		i.process, err = process.HoldAgain(id)
		if errors.Is(err, process.ErrGone) {
			err = nil
		}
		return i, err
	}
	// No process of that number is no error, nor one that is not ours.
	i.process, _ = i.findProcess()
	return i, nil
}

// recordedRuntime returns a runtime that has made a container. Where its
// executable has gone meanwhile, its state is removed without it.
func (d *Driver) recordedRuntime(name string) *ociRuntime {
	d.mu.Lock()
	c := d.checked[name]
	d.mu.Unlock()
	if c != nil {
		select {
		case c.turn <- struct{}{}:
			works := c.works
			<-c.turn
			if works != nil {
				return works
			}
		default:
		}
	}
	rt, err := d.runtimeNamed(name)
	if err != nil {
		return &ociRuntime{name: name, root: filepath.Join(d.runtimesDir(), url.PathEscape(name))}
	}
	return rt
}

// Sweep removes what carries this node's name but belongs to no instance of
// known: remains of a platform whose records are lost. It is for start-up,
// before instances are started.
func (d *Driver) Sweep(ctx context.Context, known map[string]bool) error {
	// Processes go first, so that nothing is running any more of the containers.
	errs := []error{d.groups.Sweep(ctx, known)}
	runtimes, err := readDir(d.runtimesDir())
	errs = append(errs, err)
	for _, folder := range runtimes {
		name, err := url.PathUnescape(folder)
		if err != nil {
			continue
		}
		ids, err := readDir(filepath.Join(d.runtimesDir(), folder))
		errs = append(errs, err)
		for _, id := range ids {
			if !known[id] && strings.HasPrefix(id, d.host.Node+"-") {
				errs = append(errs, d.sweepContainer(ctx, name, id))
			}
		}
	}
	return errors.Join(append(errs, d.sweepRuntimeGroups(known), sweepProbes(d.host.RunDir))...)
}

func (d *Driver) sweepContainer(ctx context.Context, runtime, id string) error {
	i := newInstance(d, id, "", &faas.Revision{})
	i.runtime = d.recordedRuntime(runtime)
	if err := i.forget(ctx); err != nil {
		return fmt.Errorf("sweep container %q of %s: %w", id, runtime, err)
	}
	return nil
}

func (d *Driver) sweepRuntimeGroups(known map[string]bool) error {
	names, err := d.runtimeGroups()
	errs := []error{err}
	for name := range names {
		if !known[name] {
			errs = append(errs, d.removeRuntimeGroups(name))
		}
	}
	return errors.Join(errs...)
}

// sweepProbes removes the folders of probes that were cut off.
func sweepProbes(runDir string) error {
	stale, err := filepath.Glob(filepath.Join(runDir, probeDirs))
	for _, dir := range stale {
		err = errors.Join(err, os.RemoveAll(dir))
	}
	return err
}

// readDir returns the names in a folder that may be missing.
func readDir(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names, err
}
