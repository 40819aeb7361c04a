// Command probe is a function for the tests of Linux guests: it tells what it
// sees, and ends as it is asked to.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Facts are what a function sees.
type Facts struct {
	Args           []string
	Env            []string
	Dir, Host      string
	UID, GID       int
	Groups         []int
	Caps, Bounding string
	NoNewPrivs     string
	Devices        []string
	Errors         map[string]string // what it tried and must not be able to do; "" when it could
	Tmp            int64             // bytes that it could write to /tmp
	Seconds        int64             // since 1970
}

func main() {
	http.HandleFunc("/facts", func(w http.ResponseWriter, _ *http.Request) { _ = json.NewEncoder(w).Encode(facts()) })
	http.HandleFunc("/exit", func(_ http.ResponseWriter, r *http.Request) {
		fmt.Println("the last words")
		code, _ := strconv.Atoi(r.URL.RawQuery)
		os.Exit(code)
	})
	http.HandleFunc("/eat", func(http.ResponseWriter, *http.Request) { eat() })
	http.HandleFunc("/say", func(_ http.ResponseWriter, r *http.Request) { fmt.Println(r.URL.RawQuery) })
	http.HandleFunc("/fork", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, fork()) })
	if len(os.Args) > 1 && os.Args[1] == "sleep" {
		time.Sleep(time.Hour)
	}
	if err := http.ListenAndServe(":"+os.Getenv("PORT"), nil); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

// eat takes all memory.
func eat() {
	var all [][]byte
	for {
		b := make([]byte, 1<<20)
		for i := range b {
			b[i] = 1
		}
		all = append(all, b)
		_ = all
	}
}

// fork starts processes until it can't, and returns how many.
func fork() int {
	for n := range 1000 {
		if err := exec.Command("/proc/self/exe", "sleep").Start(); err != nil {
			return n
		}
	}
	return -1
}

func facts() Facts {
	f := Facts{Args: os.Args, Env: os.Environ(), UID: os.Getuid(), GID: os.Getgid(), Seconds: time.Now().Unix(), Errors: map[string]string{}}
	f.Dir, _ = os.Getwd()
	f.Host, _ = os.Hostname()
	f.Groups, _ = os.Getgroups()
	status, _ := os.ReadFile("/proc/self/status")
	for line := range strings.Lines(string(status)) {
		name, value, _ := strings.Cut(line, ":")
		switch value = strings.TrimSpace(value); name {
		case "CapEff":
			f.Caps = value
		case "CapBnd":
			f.Bounding = value
		case "NoNewPrivs":
			f.NoNewPrivs = value
		}
	}
	entries, _ := os.ReadDir("/dev")
	for _, e := range entries {
		f.Devices = append(f.Devices, e.Name())
	}
	for _, path := range []string{"/new", "/dev/new", "/proc/sys/kernel/panic", "/proc/sysrq-trigger", "/sys/kernel/uevent_seqnum", "/dev/vda", "/proc/1/mem"} {
		f.try("write "+path, write(path))
	}
	f.try("read /proc/cmdline", readable("/proc/cmdline"))
	f.try("mount", syscall.Mount("tmpfs", "/tmp", "tmpfs", 0, ""))
	f.try("bind a port", bind(1000))
	f.Tmp = fill("/tmp/big")
	return f
}

func (f *Facts) try(what string, err error) {
	f.Errors[what] = ""
	if err != nil {
		f.Errors[what] = err.Error()
	}
}

func write(path string) error {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	return file.Close()
}

func readable(path string) error {
	text, err := os.ReadFile(path)
	if err == nil && len(text) == 0 {
		err = errors.New("empty")
	}
	return err
}

func bind(port int) error {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	if err != nil {
		return err
	}
	defer func() { _ = syscall.Close(fd) }()
	return syscall.Bind(fd, &syscall.SockaddrInet4{Port: port})
}

// fill writes until it can't, and returns how many bytes it could.
func fill(path string) int64 {
	file, err := os.Create(path)
	if err != nil {
		return -1
	}
	defer func() { _ = os.Remove(path) }()
	defer func() { _ = file.Close() }()
	var total int64
	for block := make([]byte, 64<<10); ; {
		n, err := file.Write(block)
		total += int64(n)
		if err != nil {
			return total
		}
	}
}
