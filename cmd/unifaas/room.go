package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/unifaas/unifaas/internal/config"
	"github.com/unifaas/unifaas/internal/host/cgroup"
	"github.com/unifaas/unifaas/internal/sandbox"
)

const (
	// roomDirs is the pattern of doctor's own folders inside the platform's,
	// on whose file systems it probes.
	roomDirs = ".doctor-*"
	// roomAge is when one of another doctor must have been left by a crash.
	roomAge = time.Hour
)

// A noRoom says which folder of the platform can't be used, and why.
type noRoom struct {
	flag string
	err  error
}

func (n *noRoom) Error() string { return fmt.Sprintf("%s: %v", n.flag, n.err) }

// drivers returns drivers that say of themselves that there is no room.
func (n *noRoom) drivers(built []sandbox.Driver) []sandbox.Driver {
	var homeless []sandbox.Driver
	for _, d := range built {
		homeless = append(homeless, homelessDriver{d, n})
	}
	return homeless
}

type homelessDriver struct {
	sandbox.Driver
	why *noRoom
}

func (d homelessDriver) Probe(context.Context) sandbox.Capabilities {
	return sandbox.Capabilities{
		Reason: fmt.Sprintf("the platform's folder can't be used: %v", d.why.err),
		Remedy: "choose another with --" + d.why.flag,
	}
}

// waitingRoom makes folders to probe in, inside those that a platform would
// use, or uses now: it is not disturbed. leave removes them, and what was made
// of the platform's.
func waitingRoom(dirs config.Dirs) (host sandbox.Host, leave func() error, err error) {
	var undo []func() error
	leave = func() error {
		var errs []error
		for i := len(undo) - 1; i >= 0; i-- {
			errs = append(errs, undo[i]())
		}
		return errors.Join(errs...)
	}
	host.Node = "doctor"
	undo = append(undo, cgroup.NewParent("unifaas-"+host.Node).Leave) // what its probes have changed there
	for _, place := range []struct {
		flag, dir string
		room      *string
	}{
		{"state-dir", dirs.StateDir, &host.StateDir}, {"run-dir", dirs.RunDir, &host.RunDir},
	} {
		made, err := makeAll(place.dir)
		undo = append(undo, func() error { return removeEmpty(made) })
		if err == nil {
			sweepRooms(place.dir)
			*place.room, err = os.MkdirTemp(place.dir, roomDirs)
		}
		if err != nil {
			return host, nil, errors.Join(&noRoom{place.flag, err}, leave())
		}
		undo = append(undo, func() error { return os.RemoveAll(*place.room) })
	}
	return host, leave, nil
}

// makeAll is os.MkdirAll that says what it has made, outermost first.
func makeAll(dir string) (made []string, err error) {
	if _, err := os.Stat(dir); err == nil || filepath.Dir(dir) == dir {
		return nil, nil
	}
	if made, err = makeAll(filepath.Dir(dir)); err != nil {
		return made, err
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return made, err
	}
	return append(made, dir), nil
}

// removeEmpty removes what makeAll made, unless somebody uses it by now.
func removeEmpty(made []string) error {
	for i := len(made) - 1; i >= 0; i-- {
		if err := os.Remove(made[i]); err != nil {
			if left, readErr := os.ReadDir(made[i]); readErr == nil && len(left) > 0 || errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			return err
		}
	}
	return nil
}

// sweepRooms removes what a doctor that was killed has left.
func sweepRooms(dir string) {
	stale, _ := filepath.Glob(filepath.Join(dir, roomDirs)) // the pattern is right
	for _, room := range stale {
		if info, err := os.Stat(room); err == nil && time.Since(info.ModTime()) > roomAge {
			_ = os.RemoveAll(room)
		}
	}
}
