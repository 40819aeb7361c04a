package docker

import (
	"context"
	"fmt"
	"syscall"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/client"

	"github.com/unifaas/unifaas/internal/sandbox"
)

// noteOOM notes that the kernel has killed a process of the container for want
// of memory.
func (i *instance) noteOOM() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.oom = true
}

// containerDied says that the container's process has ended with code, -1 if
// that is not known.
func (i *instance) containerDied(code int, at time.Time) {
	i.end(func() sandbox.Exit { return i.describe(code, at) })
}

// containerGone says that there is no container any more.
func (i *instance) containerGone() {
	i.end(func() sandbox.Exit {
		return sandbox.Exit{Code: -1, Reason: "its container was removed from outside", At: time.Now()}
	})
}

// stoppedByUs says that the container was removed by us, whether an event
// told of its end or not.
func (i *instance) stoppedByUs() {
	i.end(func() sandbox.Exit {
		return sandbox.Exit{Code: -1, Signal: int(syscall.SIGKILL), Reason: "stopped", At: time.Now()}
	})
}

// end ends the instance, once, with what describe says in the background.
func (i *instance) end(describe func() sandbox.Exit) {
	i.conclude.Do(func() {
		close(i.ending)
		i.conns.end()
		go func() {
			exit := describe()
			i.output.Load().settle(lastWords)
			i.exit = exit
			close(i.done)
		}()
	})
}

// describe puts together what the event says, what the Engine knows of the
// container, and what was noted.
func (i *instance) describe(code int, at time.Time) sandbox.Exit {
	exit := sandbox.Exit{Code: code, At: at}
	var message string
	oom := false
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	for begin := time.Now(); ; time.Sleep(lastWords / 20) {
		r, err := i.driver.engine.ContainerInspect(ctx, i.id, client.ContainerInspectOptions{})
		if err == nil && r.Container.State != nil {
			if code < 0 {
				exit.Code = r.Container.State.ExitCode
			}
			message, oom = r.Container.State.Error, r.Container.State.OOMKilled
		}
		i.mu.Lock()
		oom = oom || i.oom
		stopping := i.stopping
		i.mu.Unlock()
		// The news that it was short of memory may come after that of its end.
		if oom || stopping || exit.Code != killed || errdefs.IsNotFound(err) || time.Since(begin) > lastWords {
			break
		}
	}
	return i.explainExit(exit, oom, message)
}

// killed is the status of a process that SIGKILL ended; see explainExit.
const killed = 128 + int(syscall.SIGKILL)

// explainExit takes apart Docker's exit status, which is 128 and the signal's
// number where a signal ended the process.
func (i *instance) explainExit(exit sandbox.Exit, oom bool, message string) sandbox.Exit {
	switch {
	case oom && exit.Code != 0:
		exit.OutOfMemory = true
		exit.Reason = fmt.Sprintf("out of memory: it used more than its limit of %d MiB; raise memory in function.toml", i.memory>>20)
	case message != "":
		exit.Reason = message
	case exit.Code < 0:
		exit.Reason = "ended while the Docker Engine was away"
	}
	if exit.Code > 128 && exit.Code <= 128+64 {
		exit.Signal, exit.Code = exit.Code-128, -1
	}
	switch {
	case exit.Reason != "":
	case exit.Signal != 0:
		exit.Reason = fmt.Sprintf("killed by signal %d (%v)", exit.Signal, syscall.Signal(exit.Signal))
	default:
		exit.Reason = fmt.Sprintf("exit status %d", exit.Code)
	}
	return exit
}
