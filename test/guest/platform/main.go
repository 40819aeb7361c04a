// Command platform runs a platform once, as a user would: it starts it, calls
// the function hello-go, looks whether the instance's memory limit is set in a
// control group of version 2, sets the wall clock while requests flow, and stops
// it, which must leave an ordinary user's control group as it was. It runs in
// the test guest.
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/unifaas/unifaas/internal/control"
)

// patience bounds each step; an emulated machine is slow.
const patience = 3 * time.Minute

// limit is what functions/hello-go/function.toml declares, in bytes. A sandbox
// may add what it needs itself.
const limit = 64 << 20

// gateway is where the platform listens by default.
const gateway = "127.0.0.1:8123"

// hierarchy is where version 2 of cgroups is mounted.
const hierarchy = "/sys/fs/cgroup"

func main() {
	unifaas := flag.String("unifaas", "/unifaas", "the platform's `program`")
	functions := flag.String("functions", "/functions", "`folder` that holds hello-go")
	flag.Parse()
	if err := check(*unifaas, *functions); err != nil {
		fmt.Fprintln(os.Stderr, "FAIL:", err)
		os.Exit(1)
	}
	fmt.Println("PASS")
}

func check(unifaas, functions string) (err error) {
	dir, err := os.MkdirTemp("", "platform")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	run := filepath.Join(dir, "run")
	up := exec.Command(unifaas, "up", "--functions", functions, "--state-dir", filepath.Join(dir, "state"), "--run-dir", run)
	up.Stdout, up.Stderr = os.Stdout, os.Stderr
	doctor := exec.Command(unifaas, "doctor") // for the log
	doctor.Stdout, doctor.Stderr = os.Stdout, os.Stderr
	if err := start(doctor, "doctor"); err != nil {
		return err
	}
	if err := doctor.Wait(); err != nil {
		fmt.Println("doctor:", err)
	}
	if err := leftAsItWas("doctor"); err != nil {
		return err
	}
	if err := start(up, "service"); err != nil {
		return err
	}
	err = use(unifaas, run)
	if err == nil {
		err = jump(unifaas, run, "http://"+gateway+"/invoke/hello-go/hello")
	}
	if err = errors.Join(err, stop(up)); err != nil {
		return err
	}
	return leftAsItWas("service")
}

// use calls the function until it answers, and looks at its instance.
func use(unifaas, run string) error {
	deadline := time.Now().Add(patience)
	for {
		answer, err := output(unifaas, "invoke", "--run-dir", run, "hello-go", "/hello")
		if err == nil {
			fmt.Printf("hello-go answered %q\n", answer)
			break
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("hello-go has not answered after %v: %w", patience, err)
		}
		time.Sleep(time.Second)
	}
	instance, err := onlyInstance(unifaas, run)
	if err != nil {
		return err
	}
	return limited(instance.ID)
}

func onlyInstance(unifaas, run string) (control.Instance, error) {
	list, err := output(unifaas, "ps", "--run-dir", run, "--json")
	if err != nil {
		return control.Instance{}, err
	}
	var instances []control.Instance
	if err := json.Unmarshal([]byte(list), &instances); err != nil || len(instances) != 1 {
		return control.Instance{}, fmt.Errorf("want one instance, ps tells %s, %w", list, err)
	}
	return instances[0], nil
}

// start starts a program, an ordinary user's in a control group of its own, as
// systemd makes one for a unit with Delegate=yes.
func start(cmd *exec.Cmd, group string) error {
	if os.Geteuid() == 0 {
		return cmd.Start()
	}
	dir, err := makeGroup(group)
	if err != nil {
		return err
	}
	defer dir.Close()
	cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(dir.Fd())}
	return cmd.Start()
}

// makeGroup makes a group beside the one that this process is in.
func makeGroup(name string) (*os.File, error) {
	dir, err := groupDir(name)
	if err != nil {
		return nil, err
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		return nil, err
	}
	return os.Open(dir)
}

func groupDir(name string) (string, error) {
	text, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return "", err
	}
	own, ok := strings.CutPrefix(strings.TrimSpace(string(text)), "0::")
	if !ok {
		return "", fmt.Errorf("no group of version 2 alone: %q", text)
	}
	return filepath.Join(hierarchy, filepath.Dir(own), name), nil
}

// leftAsItWas wants nothing of ours in the group of a program that has ended.
func leftAsItWas(group string) error {
	if os.Geteuid() == 0 {
		return nil // it was given none
	}
	dir, err := groupDir(group)
	if err != nil {
		return err
	}
	below, err := filepath.Glob(filepath.Join(dir, "*", "cgroup.procs"))
	if err != nil {
		return err
	}
	handed, err := os.ReadFile(filepath.Join(dir, "cgroup.subtree_control"))
	if err != nil {
		return err
	}
	if text := strings.TrimSpace(string(handed)); len(below) > 0 || text != "" {
		return fmt.Errorf("%s ended and has left the groups %v and the controllers %q", group, below, text)
	}
	fmt.Println(group, "has left its control group as it was")
	return nil
}

// limited checks that the group of an instance holds it and limits it.
func limited(instance string) error {
	var group string
	err := filepath.WalkDir(hierarchy, func(path string, e fs.DirEntry, err error) error {
		if err == nil && e.IsDir() && strings.Contains(e.Name(), instance) {
			group = path
		}
		return nil // a group may go while we look
	})
	if err == nil && group == "" {
		err = fmt.Errorf("instance %s has no control group", instance)
	}
	if err != nil {
		return err
	}
	values := map[string]string{}
	for _, file := range []string{"memory.max", "pids.max", "cpu.max", "cgroup.procs"} {
		text, err := os.ReadFile(filepath.Join(group, file))
		if err != nil {
			return err
		}
		values[file] = strings.Join(strings.Fields(string(text)), " ")
	}
	fmt.Println(group, values)
	if memory, err := strconv.Atoi(values["memory.max"]); err != nil || memory < limit || memory > 4*limit {
		return fmt.Errorf("memory.max is %q, the function may have %d", values["memory.max"], limit)
	}
	if values["pids.max"] == "max" || strings.HasPrefix(values["cpu.max"], "max") || values["cgroup.procs"] == "" {
		return errors.New("no limits, or nobody in it")
	}
	return nil
}

func stop(up *exec.Cmd) error {
	if err := up.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	kill := time.AfterFunc(patience, func() { _ = up.Process.Kill() })
	defer kill.Stop()
	if err := up.Wait(); err != nil {
		return fmt.Errorf("the platform ended with %w", err)
	}
	return nil
}

func output(name string, args ...string) (string, error) {
	cmd := exec.Command(name, args...)
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s: %w: %s", args[0], err, bytes.TrimSpace(said.Bytes()))
	}
	return strings.TrimSpace(string(out)), nil
}
