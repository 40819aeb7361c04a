// Command breaker runs inside an instance and tries what must not work there.
// It serves what came of it as a JSON object of breakout.Result, by attempt.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/unifaas/unifaas/internal/sandbox/sandboxtest/breakout"
)

// inherited are the descriptors above the standard ones that were open before
// this program opened any. Go's runtime has opened its processor limit by then,
// where the instance sees one.
var inherited = func() (open []int) {
	for fd := 3; fd < 4096; fd++ {
		target, err := os.Readlink(fmt.Sprint("/proc/self/fd/", fd))
		if err == nil && !strings.HasPrefix(target, "/sys/fs/cgroup/") {
			open = append(open, fd)
		}
	}
	return open
}()

func main() {
	if len(os.Args) > 1 {
		tell(attempts[os.Args[1]]())
		return
	}
	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		_ = json.NewEncoder(w).Encode(all(r.URL.Query().Get("host")))
	})
	http.HandleFunc("/orphans", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, orphans(), " left")
	})
	http.HandleFunc("/input", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, markInput())
	})
	http.HandleFunc("/file", func(w http.ResponseWriter, r *http.Request) {
		text, err := os.ReadFile(r.URL.Query().Get("path"))
		if err != nil {
			text = []byte(err.Error())
		}
		_, _ = w.Write(text)
	})
	fmt.Println(http.ListenAndServe(":8080", nil))
	os.Exit(1)
}

// markInput sets a flag of the standard input's open file, and tells whether it
// was set.
func markInput() bool {
	flags, err := unix.FcntlInt(0, unix.F_GETFL, 0)
	if err == nil {
		_, err = unix.FcntlInt(0, unix.F_SETFL, flags|unix.O_NONBLOCK)
	}
	return err == nil && flags&unix.O_NONBLOCK != 0
}

// orphans makes processes whose parents end before them, and returns how many
// of them are still there a good while later.
func orphans() int {
	for range 20 {
		if err := exec.Command("/breaker", "make orphan").Run(); err != nil {
			return -1
		}
	}
	left := -1
	for deadline := time.Now().Add(20 * time.Second); left != 0 && time.Now().Before(deadline); {
		time.Sleep(5 * time.Millisecond)
		all, err := filepath.Glob("/proc/[0-9]*")
		if err != nil {
			return -1
		}
		left = len(all) - 2 // the first process and this one
	}
	return left
}

// all makes each attempt in a process of its own: some end it. host is the
// number of a process that is none of the instance's.
func all(host string) map[string]breakout.Result {
	results := map[string]breakout.Result{}
	if len(inherited) > 0 {
		results["inherited descriptors"] = breakout.Result{}
	}
	for name := range attempts {
		if !tools[name] && !(os.Getpid() == 1 && onInit(name)) {
			results[name] = run(name, host)
		}
	}
	return results
}

// onInit reports whether an attempt is on the first process. Where that is this
// one, it is the function's own.
func onInit(name string) bool {
	return strings.HasSuffix(name, " init") || strings.Contains(name, "/proc/1/")
}

func run(name, host string) breakout.Result {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, "/breaker", name)
	cmd.Env = append(os.Environ(), hostEnv+"="+host)
	out, err := cmd.CombinedOutput()
	var r breakout.Result
	if json.Unmarshal(out, &r) == nil {
		return r
	}
	// The attempt has ended its process, or it was ended for it.
	return breakout.Result{Came: fmt.Sprintf("%v %s", err, out), Held: err != nil}
}

// tell prints what came of an attempt.
func tell(err error) {
	r := breakout.Result{Held: held(err)}
	if err != nil {
		r.Came = err.Error()
	}
	_ = json.NewEncoder(os.Stdout).Encode(r)
}

// held reports whether err shows that an attempt can't be made: it is refused,
// or unknown, or what it is made on is not there or can't be changed. All other
// error numbers, EINVAL or EFAULT for instance, come from behind the gate.
// Words of an attempt's own say that it has looked at what came of it.
func held(err error) bool {
	var errno syscall.Errno
	if !errors.As(err, &errno) {
		return err != nil
	}
	switch errno {
	case unix.EPERM, unix.EACCES, unix.ENOSYS, unix.EROFS:
		return true
	case unix.ENOENT, unix.ENOTDIR, unix.ENXIO, unix.ENODEV, unix.ETXTBSY:
		// Of files: an attempt on them has the error of package os. What runs
		// can't be written by anybody; the same program beside it is tried, too.
		var path *os.PathError
		var link *os.LinkError
		return errors.As(err, &path) || errors.As(err, &link)
	}
	return false
}
