package runc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/unifaas/unifaas/internal/faas"
	"github.com/unifaas/unifaas/internal/host/cgroup"
	"github.com/unifaas/unifaas/internal/host/process"
	"github.com/unifaas/unifaas/internal/sandbox"
)

// undoTimeout bounds the undoing of a start that failed.
const undoTimeout = 20 * time.Second

// Files in the instance's folder, which is the bundle.
const (
	configFile = "config.json"
	pidFile    = "pid"
	logFile    = "runtime.log"
)

// state is what is recorded of an instance.
type state struct {
	// Runtime is the runtime's name, which says where its state is, too.
	Runtime string `json:"runtime"`
	// Cgroup is what finds the instance's control group again.
	Cgroup string `json:"cgroup"`
	// Pid and Started identify the function's process, once it is known.
	Pid     int    `json:"pid,omitempty"`
	Started uint64 `json:"started,omitempty"`
	// Memory is the limit for which an out-of-memory kill is explained, bytes.
	Memory int64 `json:"memory"`
}

// A starter is one start under way.
type starter struct {
	driver *Driver
	art    *artifact
	spec   sandbox.Spec
	limits faas.Limits
	state  state
	inst   *instance
	// launch is what makes the container: the runtime's run, or for a probe its
	// create.
	launch func(context.Context, launch) error
	began  time.Time
}

// Start makes an instance. See [sandbox.Driver].
func (d *Driver) Start(ctx context.Context, art sandbox.Artifact, spec sandbox.Spec) (sandbox.Instance, error) {
	a, ok := art.(*artifact)
	if !ok {
		return nil, errNotOurs
	}
	i, err := d.start(ctx, a, spec, a.runtime.run)
	if err != nil {
		return nil, err
	}
	return i, nil
}

func (d *Driver) start(ctx context.Context, a *artifact, spec sandbox.Spec, launch func(context.Context, launch) error) (*instance, error) {
	s := &starter{driver: d, art: a, spec: spec, limits: withDefaults(a.rev.Function.Limits), launch: launch}
	s.inst = newInstance(d, spec.ID, spec.Dir, a.rev)
	s.inst.memory = s.limits.Memory
	err := s.run(ctx)
	if err == nil {
		s.inst.watch()
		return s.inst, nil
	}
	err = s.explain(ctx, err)
	undo, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTimeout)
	defer cancel()
	return nil, errors.Join(err, s.inst.release(undo))
}

func (s *starter) run(ctx context.Context) error {
	steps := []struct {
		name string
		do   func(context.Context) error
	}{
		{"cgroup", s.makeGroup},
		{"bundle", s.writeBundle},
		{"runtime", s.makeContainer},
		{"start", s.takeOver},
	}
	for _, step := range steps {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := step.do(ctx); err != nil {
			return err
		}
		s.spec.Phase(step.name)
	}
	return nil
}

// makeGroup records everything but the process, and makes the control group.
func (s *starter) makeGroup(context.Context) error {
	groups := s.driver.groups
	if err := groups.Usable(); err != nil {
		return limitless(err)
	}
	s.state = state{Runtime: s.art.runtime.name, Cgroup: groups.Record(s.spec.ID), Memory: s.limits.Memory}
	if err := s.spec.Record(s.state); err != nil {
		return fmt.Errorf("record container: %w", err)
	}
	var err error
	s.inst.group, err = groups.Create(s.spec.ID, cgroup.Limits{Memory: s.limits.Memory, Pids: s.limits.Pids})
	if err != nil {
		return limitless(err)
	}
	return nil
}

// limitless refuses a start that would run without its limits.
func limitless(err error) error {
	return faas.Errorf(faas.KindUnavailable, "its limits can't be enforced: %w; %s", err, cgroup.Remedy(err))
}

func (s *starter) writeBundle(context.Context) error {
	text, err := json.Marshal(inGroup(s.art.spec, "/"+filepath.Join(parentName(s.driver.host), s.spec.ID)))
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(s.spec.Dir, configFile), text, 0o600)
}

// makeContainer has the runtime make the container.
func (s *starter) makeContainer(ctx context.Context) error {
	user := s.art.spec.Process.User
	output, err := openOutput(s.spec.Output, user.UID, user.GID)
	if err != nil {
		return err
	}
	defer func() { _ = output.Close() }()
	s.inst.runtime = s.art.runtime
	s.driver.making.RLock()
	defer s.driver.making.RUnlock()
	s.began = time.Now()
	return s.launch(ctx, launch{
		id: s.spec.ID, bundle: s.spec.Dir, output: output,
		pid: filepath.Join(s.spec.Dir, pidFile),
		log: filepath.Join(s.spec.Dir, logFile),
	})
}

// takeOver takes hold of the function's process, records it, and opens the way
// in. The CPU limit comes only now: making the container is the platform's
// work.
func (s *starter) takeOver(context.Context) error {
	var err error
	if s.inst.process, err = s.inst.findProcess(); err != nil {
		return fmt.Errorf("find the process that %s has made: %w", s.art.runtime.name, err)
	}
	id := s.inst.process.Identity
	s.state.Pid, s.state.Started = id.Pid, id.Started
	if err := s.spec.Record(s.state); err != nil {
		return fmt.Errorf("record process: %w", err)
	}
	return s.inst.connect(s.limits.CPUs)
}

// explain turns a start's error into one for people.
func (s *starter) explain(ctx context.Context, err error) error {
	ref, name := s.art.rev.Function.Ref, s.art.runtime.name
	if ctx.Err() != nil {
		return faas.Errorf(faas.KindOf(ctx.Err()), "start function %q in %s: %w", ref, name, errors.Join(ctx.Err(), err))
	}
	kind := faas.KindBroken
	var told *faas.Error
	if errors.As(err, &told) {
		kind = told.Kind
	}
	if s.inst.group != nil {
		if kills, oomErr := s.inst.group.OOMKills(); oomErr == nil && kills > 0 {
			return faas.Errorf(kind, "start function %q in %s: its memory limit of %d MiB is too small to start in; raise memory in function.toml: %w",
				ref, name, s.limits.Memory>>20, err)
		}
	}
	return faas.Errorf(kind, "start function %q in %s: %w", ref, name, err)
}

// identity is the recorded process; ok is false where none was.
func (st state) identity() (id process.Identity, ok bool) {
	return process.Identity{Pid: st.Pid, Started: st.Started}, st.Pid != 0
}
