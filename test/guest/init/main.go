// Command init is process 1 of the test guest: it makes a Linux system out of
// an initial file system, runs the jobs that it finds there, tells the host
// of them, and powers the machine off.
//
// It knows nothing of what the jobs test.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/unifaas/unifaas/test/guest/job"
)

func main() {
	if os.Getpid() != 1 {
		fmt.Fprintln(os.Stderr, "init: this is the first process of the test guest and does nothing elsewhere")
		os.Exit(2)
	}
	serve()
}

// serve makes the system, runs the jobs and powers the machine off.
func serve() {
	// Whatever happens, the machine must end: the host waits for that.
	defer func() { _ = unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF) }()
	if err := makeSystem(); err != nil {
		fmt.Fprintln(os.Stderr, "init:", err) // the console
		return
	}
	host, err := openPort()
	if err != nil {
		fmt.Fprintln(os.Stderr, "init:", err)
		return
	}
	host.tell(job.Event{Kind: job.Hello, Text: describe()})
	go func() {
		for range time.Tick(job.AliveEvery) {
			host.tell(job.Event{Kind: job.Alive})
		}
	}()
	if err := runAll(host); err != nil {
		host.tell(job.Event{Kind: job.Broken, Text: err.Error()})
		return
	}
	host.tell(job.Event{Kind: job.Done})
}

func runAll(host *port) error {
	text, err := os.ReadFile(job.File)
	if err != nil {
		return err
	}
	var plan job.Plan
	if err := json.Unmarshal(text, &plan); err != nil {
		return err
	}
	for _, module := range plan.Modules {
		if err := load(module); err != nil {
			return err
		}
	}
	if err := mountTmp(plan.Disk); err != nil {
		return err
	}
	for _, j := range plan.Jobs {
		host.tell(job.Event{Kind: job.Begin, Job: j.Name})
		begin := time.Now()
		end := job.Event{Kind: job.End, Job: j.Name}
		if err := run(j, host); err != nil {
			end.Failure = err.Error()
		}
		end.Took = time.Since(begin)
		host.tell(end)
	}
	return nil
}

// A port is the line to the host.
type port struct {
	mu   sync.Mutex
	file *os.File
}

func openPort() (*port, error) {
	file, err := os.OpenFile(job.EventPort, os.O_WRONLY|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, err
	}
	return &port{file: file}, nil
}

// tell sends an event. A port that is broken can't be told of.
func (p *port) tell(e job.Event) {
	line, err := json.Marshal(e)
	if err != nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	_, _ = p.file.Write(append(line, '\n'))
}
