package dockertest

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"time"

	"github.com/unifaas/unifaas/test/bench/proc"
)

// stopGrace is how long a daemon may take to stop its containers.
const stopGrace = time.Minute

// A request is what the tests ask the keeper to do with the daemon: to start
// it, or to signal it and wait for its end.
type request struct {
	Start  *Options
	Signal syscall.Signal
}

// A keeper starts and stops the daemon for the process with the tests.
type keeper struct {
	dir    string
	ns     *os.File
	daemon *exec.Cmd
	ended  chan struct{}
}

// serve does what the tests ask until they have ended.
func (k *keeper) serve(conn *os.File) error {
	requests, answers := json.NewDecoder(conn), json.NewEncoder(conn)
	for {
		var r request
		if err := requests.Decode(&r); errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) {
			return nil
		} else if err != nil {
			return err
		}
		var answer string
		if err := k.do(r); err != nil {
			answer = err.Error()
		}
		if err := answers.Encode(answer); err != nil {
			return err
		}
	}
}

func (k *keeper) do(r request) error {
	if r.Start == nil {
		return k.stop(r.Signal)
	}
	if k.daemon != nil {
		return errors.New("the daemon runs already")
	}
	return k.start(*r.Start)
}

// start starts the daemon, in mount and network namespaces of its own. It
// brings its own containerd.
func (k *keeper) start(o Options) error {
	if err := k.configure(o); err != nil {
		return err
	}
	log, err := os.OpenFile(filepath.Join(k.dir, "dockerd.log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }()
	cmd := exec.Command("dockerd", "--config-file", filepath.Join(k.dir, "daemon.json"),
		"--host", "unix://"+socket(k.dir), "--data-root", filepath.Join(k.dir, "data"),
		"--exec-root", filepath.Join(k.dir, "exec"), "--pidfile", filepath.Join(k.dir, "docker.pid"))
	cmd.Env = append(os.Environ(), "PATH="+os.Getenv("PATH")+":/usr/sbin:/sbin")
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Setpgid: true, Pdeathsig: syscall.SIGTERM,
		// So that its mounts go with it and its containers.
		Unshareflags: syscall.CLONE_NEWNS,
	}
	if err := proc.InNetNS(k.ns, cmd.Start); err != nil {
		return err
	}
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait() // how it ended is in its log
		close(ended)
	}()
	k.daemon, k.ended = cmd, ended
	return nil
}

// configure writes the daemon's configuration file.
func (k *keeper) configure(o Options) error {
	config := map[string]any{
		"live-restore": o.LiveRestore, "runtimes": map[string]any{"runsc": map[string]any{"path": runtimePath(k.dir, "runsc")}},
		"cgroup-parent":       "/" + groupsOf(os.Getpid()),
		"insecure-registries": []string{"127.0.0.0/8"},
	}
	if o.StorageDriver != "" {
		config["storage-driver"] = o.StorageDriver
	}
	text, err := json.Marshal(config)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(k.dir, "daemon.json"), text, 0o600)
}

// groupsOf is the cgroup that all containers of a keeper's daemon are in.
func groupsOf(keeper int) string { return "unifaas-dockertest-" + strconv.Itoa(keeper) }

// stop signals the daemon and waits for its end.
func (k *keeper) stop(sig syscall.Signal) error {
	if k.daemon == nil {
		return nil
	}
	_ = k.daemon.Process.Signal(sig) // it may have ended by itself
	var err error
	select {
	case <-k.ended:
	case <-time.After(stopGrace):
		_ = k.daemon.Process.Kill()
		<-k.ended
		err = fmt.Errorf("dockerd did not end within %v of %v", stopGrace, sig)
	}
	k.daemon = nil
	return err
}

// close stops the daemon and removes what it leaves. A daemon that was killed,
// or that keeps containers alive, does not stop them: another one does.
func (k *keeper) close() error {
	if _, err := os.Stat(filepath.Join(k.dir, "data")); errors.Is(err, fs.ErrNotExist) {
		return nil // there never was one
	} else if err != nil {
		return err
	}
	if err := k.stop(syscall.SIGTERM); err != nil {
		return err
	}
	if err := k.start(Options{}); err != nil {
		return err
	}
	if err := await(k.dir, k.ended); err != nil {
		return err
	}
	return errors.Join(k.stop(syscall.SIGTERM), k.removeGroups())
}

// removeGroups removes the parent of the containers' cgroups, in all
// hierarchies, with what is left in there: runsc forgets the groups of a
// container that is killed while it is made. None holds a process, or it could
// not be removed.
func (k *keeper) removeGroups() error {
	groups := groupsOf(os.Getpid())
	tops, err := filepath.Glob(filepath.Join("/sys/fs/cgroup", "*", groups))
	if err != nil {
		return err
	}
	for _, top := range append(tops, filepath.Join("/sys/fs/cgroup", groups)) {
		var all []string
		walk := filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				all = append(all, path)
			}
			return err
		})
		if walk != nil && !errors.Is(walk, fs.ErrNotExist) {
			err = errors.Join(err, walk)
		}
		for _, path := range slices.Backward(all) {
			if rm := os.Remove(path); rm != nil && !errors.Is(rm, fs.ErrNotExist) {
				err = errors.Join(err, rm)
			}
		}
	}
	return err
}
