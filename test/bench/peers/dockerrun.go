package peers

import (
	"context"
	"fmt"
	"net"
	"os"
	"strconv"
	"time"

	"github.com/unifaas/unifaas/test/bench/proc"
)

type dockerContainer struct {
	docker *Docker
	name   string
	port   int
	held   net.Listener // keeps the port from others until the start
	began  bool
}

// Prepare reserves a port to publish the container's at.
func (d *Docker) Prepare() (Instance, error) {
	c := &dockerContainer{docker: d, name: fmt.Sprintf("unifaas-bench-%d-%d", os.Getpid(), d.next.Add(1))}
	err := proc.InNetNS(d.netns, func() (err error) {
		c.held, err = net.Listen("tcp", proc.Local(0))
		return err
	})
	if err != nil {
		return nil, err
	}
	c.port = c.held.Addr().(*net.TCPAddr).Port
	return c, nil
}

// Start is `docker run`, and the way in the published port.
func (c *dockerContainer) Start(ctx context.Context, path string) (time.Duration, error) {
	if err := c.held.Close(); err != nil {
		return 0, err
	}
	c.began = true
	d, limits := c.docker, c.docker.rev.Function.Limits
	args := []string{
		"run", "--detach", "--name", c.name, "--network", "bridge",
		"--publish", fmt.Sprintf("%s:%d", proc.Local(c.port), d.rev.Function.Port),
		"--memory", strconv.FormatInt(limits.Memory, 10),
		"--cpus", strconv.FormatFloat(limits.CPUs, 'g', -1, 64),
		"--pids-limit", strconv.Itoa(limits.Pids),
		"--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges",
		d.image,
	}
	started := time.Now()
	err := d.docker(ctx, nil, args...)
	if err == nil {
		err = proc.InNetNS(d.netns, func() error { return awaitAnswer(ctx, proc.Local(c.port), path) })
	}
	return time.Since(started), err
}

// Kill is `docker kill`: what stays of the container is for Delete.
func (c *dockerContainer) Kill() error {
	return c.docker.docker(context.Background(), nil, "kill", c.name)
}

func (c *dockerContainer) Delete() error {
	if !c.began {
		return c.held.Close()
	}
	return c.docker.docker(context.Background(), nil, "rm", "--force", c.name)
}
