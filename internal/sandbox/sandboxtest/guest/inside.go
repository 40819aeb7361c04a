package guest

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Info is what the guest can tell about where it runs.
type Info struct {
	Args       []string `json:"args"`
	Env        []string `json:"env"`
	UID        int      `json:"uid"`
	GID        int      `json:"gid"`
	Dir        string   `json:"dir"`
	Hostname   string   `json:"hostname"`
	Pids       []string `json:"pids"`       // the numbered entries of /proc
	Interfaces []string `json:"interfaces"` // "name address address..."
}

// A Result is the outcome of something that may be forbidden.
type Result struct {
	Bytes int64  `json:"bytes"`
	Error string `json:"error,omitempty"`
}

func failed(n int64, err error) Result {
	if err != nil {
		return Result{n, err.Error()}
	}
	return Result{Bytes: n}
}

func (g *handler) info(w http.ResponseWriter, _ *http.Request) error {
	info := Info{Args: g.p.Args, Env: g.p.Environ(), UID: os.Getuid(), GID: os.Getgid()}
	var err error
	if info.Dir, err = os.Getwd(); err != nil {
		return err
	}
	if info.Hostname, err = os.Hostname(); err != nil {
		return err
	}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return err
	}
	for _, e := range entries {
		if strings.Trim(e.Name(), "0123456789") == "" {
			info.Pids = append(info.Pids, e.Name())
		}
	}
	interfaces, err := net.Interfaces()
	if err != nil {
		return err
	}
	for _, i := range interfaces {
		addrs, err := i.Addrs()
		if err != nil {
			return err
		}
		info.Interfaces = append(info.Interfaces, fmt.Sprint(i.Name, " ", addrs))
	}
	return reply(w, info)
}

func (g *handler) write(w http.ResponseWriter, r *http.Request) error {
	f, err := os.Create(r.URL.Query().Get("path"))
	if err != nil {
		return reply(w, failed(0, err))
	}
	n, err := io.Copy(f, Pattern(2, number(r, "bytes")))
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return reply(w, failed(n, err))
}

func (g *handler) dial(w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	d := net.Dialer{Timeout: 2 * time.Second}
	conn, err := d.DialContext(r.Context(), q.Get("network"), q.Get("addr"))
	if err == nil {
		_ = conn.Close()
	}
	return reply(w, failed(0, err))
}

func (g *handler) alloc(w http.ResponseWriter, r *http.Request) error {
	var blocks [][]byte
	for range number(r, "mib") {
		block := make([]byte, 1<<20)
		for i := 0; i < len(block); i += 4096 {
			block[i] = 1
		}
		blocks = append(blocks, block)
	}
	g.kept.Store(&blocks)
	return reply(w, failed(int64(len(blocks))<<20, nil))
}

func (g *handler) burn(w http.ResponseWriter, r *http.Request) error {
	procs := int(number(r, "procs"))
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(procs))
	before, err := cpuTime()
	if err != nil {
		return err
	}
	end := time.Now().Add(time.Duration(number(r, "ms")) * time.Millisecond)
	var wg sync.WaitGroup
	for range procs {
		wg.Go(func() {
			for time.Now().Before(end) {
			}
		})
	}
	wg.Wait()
	after, err := cpuTime()
	if err != nil {
		return err
	}
	return reply(w, map[string]int64{"cpu": int64(after - before)})
}

func cpuTime() (time.Duration, error) {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0, err
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()), nil
}

// Forked is the answer of /fork.
type Forked struct {
	Started int    `json:"started"`
	Error   string `json:"error,omitempty"`
}

func (g *handler) fork(w http.ResponseWriter, r *http.Request) error {
	var answer Forked
	for range number(r, "n") {
		child := exec.Command("/proc/self/exe")
		child.Env = []string{ModeEnv + "=" + ModeSpin, "GOMAXPROCS=1"}
		if err := child.Start(); err != nil {
			answer.Error = err.Error()
			break
		}
		answer.Started++
	}
	return reply(w, answer)
}
