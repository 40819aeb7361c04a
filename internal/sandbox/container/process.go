package container

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/unifaas/unifaas/internal/host/ids"
	"github.com/unifaas/unifaas/internal/host/process"
)

// namespaces of an instance. The one of control groups comes when the process
// is in its own, since that becomes the root of what is seen.
const namespaces = unix.CLONE_NEWUSER | unix.CLONE_NEWPID | unix.CLONE_NEWNS |
	unix.CLONE_NEWNET | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS

// fork makes the instance's first process, a member of its group, and puts its
// users in place. It waits at its gate.
func (s *starter) fork() error {
	program, err := s.driver.program()
	if err != nil {
		return err
	}
	f := forked{flags: namespaces, artifact: s.art, files: s.files.child}
	if s.inst.group != nil {
		if f.entrance, err = s.inst.group.Open(); err != nil {
			return err
		}
		defer f.entrance.Close()
	}
	pid, err := s.driver.launcher.fork(program, f)
	if err != nil {
		return fmt.Errorf("make first process: %w", err)
	}
	// Nobody waits for it yet, so that the number is still its own.
	if s.inst.process, err = process.Hold(pid); err != nil {
		return fmt.Errorf("make first process: %w", err)
	}
	// As long as its /proc files are the platform's.
	if err := writeFile(pid, "oom_score_adj", oomScore); err != nil {
		return fmt.Errorf("put it before the platform where memory is short: %w", err)
	}
	return s.mapUsers(pid)
}

// oomScore makes the kernel take a function before the platform, whose score
// is not adjusted, when the whole machine is short of memory. What root has
// raised, the function can't lower.
const oomScore = "500"

// mapUsers says who the instance's users are: those of its range, which nobody
// else has, or else the platform's own user in the place of the function's,
// which is all that an ordinary user may say.
func (s *starter) mapUsers(pid int) error {
	uids, gids := idMap(0, s.inst.uids, ids.RangeSize), idMap(0, s.inst.uids, ids.RangeSize)
	if s.inst.uids == 0 {
		uids, gids = idMap(s.art.uid, uint32(os.Geteuid()), 1), idMap(s.art.gid, uint32(os.Getegid()), 1)
		// Without it the kernel refuses the groups' map (user_namespaces(7)).
		if err := writeFile(pid, "setgroups", "deny"); err != nil {
			return err
		}
	}
	return errors.Join(writeFile(pid, "uid_map", uids), writeFile(pid, "gid_map", gids))
}

// idMap is a line of /proc/PID/uid_map.
func idMap(inside, outside, count uint32) string {
	return fmt.Sprintf("%d %d %d\n", inside, outside, count)
}

// writeFile writes a file of /proc/PID with one system call.
func writeFile(pid int, name, text string) error {
	f, err := os.OpenFile(fmt.Sprintf("/proc/%d/%s", pid, name), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Close())
}
