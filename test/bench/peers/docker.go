package peers

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/unifaas/unifaas/internal/faas"
	"github.com/unifaas/unifaas/test/bench/proc"
)

// A Docker starts containers with `docker run` on Docker's bridge.
type Docker struct {
	exe   string
	host  string   // of the daemon; "" is the client's default
	netns *os.File // the daemon's; nil is ours
	image string
	rev   *faas.Revision
	next  atomic.Int64
	undo  []func() error
}

// NewDocker returns a Docker that runs rev, whose image is the file program.
// It uses the daemon that runs here, or else starts one of its own in a
// network namespace of its own, because a daemon changes the firewall of the
// one it is in. Without client or daemon the error says what is missing.
func NewDocker(ctx context.Context, group *proc.Group, dir string, rev *faas.Revision, program string) (_ *Docker, err error) {
	exe, err := find("docker", "apt-get install docker.io")
	if err != nil {
		return nil, err
	}
	d := &Docker{exe: exe, rev: rev, image: fmt.Sprintf("unifaas-bench:%d", os.Getpid())}
	defer func() {
		if err != nil {
			err = errors.Join(err, d.Close())
		}
	}()
	if err := d.docker(ctx, nil, "info"); err != nil {
		if err := d.startDaemon(ctx, group, dir); err != nil {
			return nil, err
		}
	}
	layer, err := layerOf(program)
	if err != nil {
		return nil, err
	}
	err = d.docker(ctx, layer, "import", "--change", `ENTRYPOINT ["/`+filepath.Base(program)+`"]`, "-", d.image)
	d.undo = append(d.undo, func() error {
		return d.docker(context.WithoutCancel(ctx), nil, "rmi", "--force", d.image)
	})
	return d, err
}

// startDaemon starts a private daemon. It brings its own containerd.
func (d *Docker) startDaemon(ctx context.Context, group *proc.Group, dir string) error {
	exe, err := find("dockerd", "apt-get install docker.io")
	if err != nil {
		return fmt.Errorf("no Docker daemon answers, and %w", err)
	}
	if d.netns, err = proc.NewNetNS(); err != nil {
		return err
	}
	d.undo = append(d.undo, d.netns.Close)
	d.host = "unix://" + filepath.Join(dir, "docker.sock")
	cmd := exec.Command(exe, "--host", d.host, "--data-root", filepath.Join(dir, "data"),
		"--exec-root", filepath.Join(dir, "exec"), "--pidfile", filepath.Join(dir, "docker.pid"),
		"--cgroup-parent", "/unifaas-bench-docker")
	cmd.Env = append(os.Environ(), "PATH="+filepath.Dir(exe)+":/usr/bin:"+os.Getenv("PATH"))
	p, err := group.Start("dockerd", cmd, proc.Options{Grace: time.Minute, NetNS: d.netns})
	if err != nil {
		return err
	}
	d.undo = append(d.undo, func() error { return errors.Join(p.Stop(), clearDaemon(dir)) })
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		err := d.docker(ctx, nil, "info")
		if err == nil {
			return nil
		}
		select {
		case <-p.Done():
			return p.Failure("ended before it served")
		case <-ctx.Done():
			return errors.Join(err, p.Failure("did not serve within a minute"))
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// clearDaemon removes what a daemon leaves behind: mounts of network
// namespaces and of its folders, and the parents of its groups.
func clearDaemon(dir string) error {
	var errs []error
	for _, pattern := range []string{"exec/netns/*", "exec/netns", "data/*", "data", "exec"} {
		paths, err := filepath.Glob(filepath.Join(dir, pattern))
		errs = append(errs, err)
		for _, path := range paths {
			errs = append(errs, unmountAll(path))
		}
	}
	return errors.Join(append(errs, removeGroups("unifaas-bench-docker"))...)
}

// layerOf returns a root file system with only program in it, as a tar.
func layerOf(program string) (*bytes.Buffer, error) {
	content, err := os.ReadFile(program)
	if err != nil {
		return nil, err
	}
	var layer bytes.Buffer
	w := tar.NewWriter(&layer)
	err = w.WriteHeader(&tar.Header{Name: filepath.Base(program), Mode: 0o755, Size: int64(len(content))})
	if err == nil {
		_, err = w.Write(content)
	}
	return &layer, errors.Join(err, w.Close())
}

func (d *Docker) docker(ctx context.Context, stdin *bytes.Buffer, args ...string) error {
	if d.host != "" {
		args = append([]string{"--host", d.host}, args...)
	}
	cmd := exec.CommandContext(ctx, d.exe, args...)
	if stdin != nil {
		cmd.Stdin = stdin
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("docker %s: %w: %s", args[len(args)-1], err, bytes.TrimSpace(out))
	}
	return nil
}

// Host returns the daemon's address as DOCKER_HOST has it; "" is the client's
// default.
func (d *Docker) Host() string { return d.host }

// NetNS returns the network namespace that the daemon is in; nil is ours. It
// stays the Docker's.
func (d *Docker) NetNS() *os.File { return d.netns }

// awaitAnswer polls a container. It is called once `docker run` has returned:
// an attempt before the container's link is up would hold up all others for a
// second, the time after which Linux repeats an ARP request.
func awaitAnswer(ctx context.Context, address, path string) error {
	var dialer net.Dialer
	for {
		conn, err := dialer.DialContext(ctx, "tcp", address)
		if err == nil {
			if err = ask(ctx, conn, path); err == nil {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		case <-time.After(pollEvery):
		}
	}
}

// Close removes the image and stops a daemon of its own. It may be called
// more than once.
func (d *Docker) Close() error {
	var errs []error
	for len(d.undo) > 0 {
		last := len(d.undo) - 1
		errs = append(errs, d.undo[last]())
		d.undo = d.undo[:last]
	}
	return errors.Join(errs...)
}
