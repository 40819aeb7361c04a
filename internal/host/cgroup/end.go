package cgroup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

const (
	firstPause = 200 * time.Microsecond
	maxPause   = 20 * time.Millisecond
)

// Processes returns the processes in the group, whichever hierarchy knows
// them. A group that is gone has none.
func (g *Group) Processes() ([]int, error) {
	var pids []int
	for _, dir := range g.layout.folders() {
		words, err := readWords(filepath.Join(dir, g.parent, g.name, "cgroup.procs"))
		if gone(err) {
			continue
		}
		if err != nil {
			return nil, err
		}
		for _, w := range words {
			// 0 is a process of a pid namespace that we can't see into.
			if pid, err := strconv.Atoi(w); err == nil && pid > 0 && !slices.Contains(pids, pid) {
				pids = append(pids, pid)
			}
		}
	}
	return pids, nil
}

// gone reports whether an error says that a group isn't there: ENODEV is what
// a control file says when its group goes while it is open.
func gone(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENODEV)
}

// Remove kills every process in the group, waits until they are gone, and
// removes it. A group that isn't there is no error. ctx bounds the wait; what
// is left then can be removed by another call.
func (g *Group) Remove(ctx context.Context) error {
	pause := firstPause
	for {
		err := g.kill()
		if err == nil {
			err = g.rmdir()
		}
		if err == nil {
			return nil
		}
		if !isBusy(err) {
			return fmt.Errorf("remove cgroup %q: %w", g.name, err)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("remove cgroup %q: %w", g.name, errors.Join(ctx.Err(), err))
		case <-time.After(pause):
		}
		pause = min(2*pause, maxPause)
	}
}

// kill sends SIGKILL to every process in the group, in one stroke where the
// kernel can (cgroup.kill, Linux 5.14).
func (g *Group) kill() error {
	if dir := g.unified(); dir != "" {
		if err := write(filepath.Join(dir, "cgroup.kill"), "1"); err != nil && !gone(err) {
			return err
		}
	}
	return g.killEach()
}

// killEach kills process by process. Each is held by a file descriptor and
// looked up once more before the signal: its number may have gone to another
// process since the first look.
func (g *Group) killEach() error {
	pids, err := g.Processes()
	if err != nil || len(pids) == 0 {
		return err
	}
	held := map[int]int{}
	defer func() {
		for _, fd := range held {
			_ = unix.Close(fd)
		}
	}()
	for _, pid := range pids {
		if fd, err := unix.PidfdOpen(pid, 0); err == nil {
			held[pid] = fd
		}
	}
	still, err := g.Processes()
	if err != nil {
		return err
	}
	for _, pid := range still {
		if fd, ok := held[pid]; ok {
			// It may have ended by itself; whoever is left is seen next time.
			_ = unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0)
		}
	}
	return nil
}

// rmdir removes the group's folders, as many as it can.
func (g *Group) rmdir() error {
	var errs []error
	for _, dir := range g.layout.folders() {
		err := os.Remove(filepath.Join(dir, g.parent, g.name))
		if err != nil && !gone(err) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func isBusy(err error) bool {
	return errors.Is(err, unix.EBUSY) || errors.Is(err, unix.ENOTEMPTY)
}

func isReadOnly(err error) bool { return errors.Is(err, unix.EROFS) }
