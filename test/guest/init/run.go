package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/unifaas/unifaas/test/guest/job"
)

// quitTime is for what programs tell that are asked to quit.
const quitTime = 10 * time.Second

// run runs a job to its end. Its error is the job's failure. What the job
// leaves behind, in processes or in cgroups, is a failure, too.
func run(j job.Job, host *port) error {
	for _, module := range j.Modules {
		if err := load(module); err != nil {
			return err
		}
	}
	for _, driver := range j.Drivers {
		if err := load(driver); err != nil {
			fmt.Fprintln(os.Stderr, "init:", err) // the console
		}
	}
	if err := openToGroup("/dev/kvm"); err != nil {
		return err
	}
	before := groupsBelow(cgroups)
	group, inside, err := makeGroup(j)
	if err != nil {
		return err
	}
	output, finish, err := forward(j.Name, host)
	if err != nil {
		return err
	}
	pid, err := fork(j, inside, output)
	_ = output.Close()
	if err != nil {
		return errors.Join(err, finish())
	}
	overdue := time.AfterFunc(j.Timeout, func() { quit(group) })
	status := wait(pid)
	var errs []error
	if !overdue.Stop() {
		errs = append(errs, fmt.Errorf("killed after %v", j.Timeout))
	}
	if status.ExitStatus() != 0 {
		errs = append(errs, fmt.Errorf("it ended with %s", tellStatus(status)))
	}
	errs = append(errs, nothingLeft(group, before), clearAll(before), finish())
	return errors.Join(errs...)
}

// deviceGroup is a group that has no member but is not root's.
const deviceGroup = 104

// openToGroup has a device, if there is one, belong to a group that may open
// it, as udev's rules do elsewhere.
func openToGroup(device string) error {
	if _, err := os.Stat(device); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return errors.Join(os.Chown(device, 0, deviceGroup), os.Chmod(device, 0o660))
}

// makeGroup makes the control group of a job, and returns it and the one that
// the job begins in: as elsewhere, neither is the root. An ordinary user's is
// the user's own and hands its controllers down, for which it must hold no
// process itself.
func makeGroup(j job.Job) (group, inside string, err error) {
	group = filepath.Join(cgroups, "job-"+j.Name)
	if err := os.Mkdir(group, 0o755); err != nil || j.User == 0 {
		return group, group, err
	}
	inside = filepath.Join(group, "runner")
	if err := errors.Join(handDown(group), os.Mkdir(inside, 0o755)); err != nil {
		return "", "", err
	}
	for _, dir := range []string{group, inside} {
		for _, file := range []string{"", "cgroup.procs", "cgroup.subtree_control", "cgroup.threads"} {
			if err := os.Chown(filepath.Join(dir, file), j.User, j.User); err != nil {
				return "", "", err
			}
		}
	}
	return group, inside, nil
}

func fork(j job.Job, group string, output *os.File) (int, error) {
	dir, err := os.Open(group)
	if err != nil {
		return 0, err
	}
	defer dir.Close()
	null, err := os.Open(os.DevNull)
	if err != nil {
		return 0, err
	}
	defer null.Close()
	attr := &syscall.SysProcAttr{Setsid: true, UseCgroupFD: true, CgroupFD: int(dir.Fd())}
	if j.User != 0 {
		attr.Credential = &syscall.Credential{Uid: uint32(j.User), Gid: uint32(j.User)}
	}
	// Not os/exec: its wait and this process's duty to wait for orphans would
	// take each other's children.
	return syscall.ForkExec(j.Args[0], j.Args, &syscall.ProcAttr{
		Dir: j.Dir, Env: j.Env, Sys: attr, Files: []uintptr{null.Fd(), output.Fd(), output.Fd()},
	})
}

// wait waits for pid, and for every orphan that ends meanwhile.
func wait(pid int) syscall.WaitStatus {
	for {
		var status syscall.WaitStatus
		if ended, err := syscall.Wait4(-1, &status, 0, nil); ended == pid || errors.Is(err, syscall.ECHILD) {
			return status
		}
	}
}

// reap waits for everything that has been killed.
func reap() {
	for {
		if _, err := syscall.Wait4(-1, nil, 0, nil); errors.Is(err, syscall.ECHILD) {
			return
		}
	}
}

func tellStatus(status syscall.WaitStatus) string {
	if status.Signaled() {
		return "signal " + unix.SignalName(status.Signal())
	}
	return fmt.Sprintf("exit status %d", status.ExitStatus())
}

// forward returns a pipe whose lines go to the host, and a function that
// waits for the last one, but not for ever: a process that was left behind
// holds the pipe as well.
func forward(name string, host *port) (*os.File, func() error, error) {
	reader, writer, err := os.Pipe()
	if err != nil {
		return nil, nil, err
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		lines := bufio.NewScanner(reader)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			host.tell(job.Event{Kind: job.Output, Job: name, Text: lines.Text()})
		}
	}()
	return writer, func() error {
		_ = reader.SetReadDeadline(time.Now().Add(5 * time.Second))
		<-done
		return reader.Close()
	}, nil
}

// nothingLeft fails when a job that has ended left processes, or groups
// outside its own: in its own the platform of an ordinary user may have had to
// move down, and nobody can remove the group that it is in itself.
func nothingLeft(group string, before map[string]bool) error {
	var errs []error
	for dir := range groupsBelow(cgroups) {
		if before[dir] {
			continue
		}
		procs, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
		if err == nil && len(procs) > 0 {
			errs = append(errs, fmt.Errorf("left behind: processes %s in %s", strings.Fields(string(procs)), dir))
		} else if dir != group && !strings.HasPrefix(dir, group+"/") {
			errs = append(errs, fmt.Errorf("left behind: cgroup %s", dir))
		}
	}
	return errors.Join(errs...)
}

func groupsBelow(dir string) map[string]bool {
	groups := map[string]bool{}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return groups // it has gone
	}
	for _, e := range entries {
		if e.IsDir() {
			path := filepath.Join(dir, e.Name())
			groups[path] = true
			for below := range groupsBelow(path) {
				groups[below] = true
			}
		}
	}
	return groups
}

// quit has the programs in a group tell where they hang, as Go's do on
// SIGQUIT, and ends them.
func quit(group string) {
	dirs := groupsBelow(group)
	dirs[group] = true
	for dir := range dirs {
		text, _ := os.ReadFile(filepath.Join(dir, "cgroup.procs")) // it may have gone
		for _, word := range strings.Fields(string(text)) {
			if pid, err := strconv.Atoi(word); err == nil {
				_ = unix.Kill(pid, unix.SIGQUIT)
			}
		}
	}
	time.Sleep(quitTime)
	killAll(group)
}

// killAll kills what runs in a group and below.
func killAll(group string) {
	_ = os.WriteFile(filepath.Join(group, "cgroup.kill"), []byte("1"), 0)
}

// clearAll ends and removes every group but those before.
func clearAll(before map[string]bool) error {
	var groups []string
	for dir := range groupsBelow(cgroups) {
		if !before[dir] {
			groups = append(groups, dir)
			killAll(dir)
		}
	}
	reap()
	slices.Sort(groups)
	var errs []error
	for _, dir := range slices.Backward(groups) {
		errs = append(errs, os.Remove(dir))
	}
	return errors.Join(errs...)
}
