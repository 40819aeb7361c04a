package main

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// jumps are by how much the wall clock is set, one after the other, while
// requests flow: past every keepalive, timeout and back-off, and back to before
// the platform was started.
var jumps = []time.Duration{26 * time.Hour, -52 * time.Hour, 26 * time.Hour}

// requestsBetween is how many requests must be answered after each jump.
const requestsBetween = 20

// jump sets the wall clock forward and back, as only root may, while requests
// flow, and wants none of them to fail and the instance to be the same.
func jump(unifaas, run, url string) (err error) {
	if os.Geteuid() != 0 {
		return nil
	}
	before, err := onlyInstance(unifaas, run)
	if err != nil {
		return err
	}
	f := flow{url: url, stop: make(chan struct{})}
	var worker sync.WaitGroup
	worker.Go(f.run)
	defer func() {
		close(f.stop)
		worker.Wait()
		err = errors.Join(err, f.err)
	}()
	for _, by := range jumps {
		if err := f.await(requestsBetween); err != nil {
			return err
		}
		if err := setClock(by); err != nil {
			return err
		}
		fmt.Println("the wall clock was set by", by)
	}
	if err := f.await(requestsBetween); err != nil {
		return err
	}
	after, err := onlyInstance(unifaas, run)
	if err == nil && after.ID != before.ID {
		err = fmt.Errorf("instance %s was replaced by %s when the clock was set", before.ID, after.ID)
	}
	return err
}

func setClock(by time.Duration) error {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_REALTIME, &now); err != nil {
		return err
	}
	now.Sec += int64(by / time.Second)
	if err := unix.ClockSettime(unix.CLOCK_REALTIME, &now); err != nil {
		return fmt.Errorf("set the wall clock: %w", err)
	}
	return nil
}

// A flow sends requests one after the other until one fails or it is stopped.
type flow struct {
	url  string
	stop chan struct{}

	mu       sync.Mutex
	answered int
	err      error
}

func (f *flow) run() {
	client := http.Client{Timeout: patience} // by the monotonic clock
	for {
		select {
		case <-f.stop:
			return
		default:
		}
		err := f.once(&client)
		f.mu.Lock()
		f.answered++
		f.err = err
		f.mu.Unlock()
		if err != nil {
			return
		}
	}
}

func (f *flow) once(client *http.Client) error {
	resp, err := client.Get(f.url)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("a request while the clock is set: status %d: %s", resp.StatusCode, body)
	}
	return err
}

// await returns when n more requests have been answered.
func (f *flow) await(n int) error {
	f.mu.Lock()
	goal := f.answered + n
	f.mu.Unlock()
	for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		f.mu.Lock()
		answered, err := f.answered, f.err
		f.mu.Unlock()
		switch {
		case err != nil:
			return err
		case answered >= goal:
			return nil
		case time.Now().After(deadline):
			return fmt.Errorf("%d of %d requests were answered in %v", answered, goal, patience)
		}
	}
}
