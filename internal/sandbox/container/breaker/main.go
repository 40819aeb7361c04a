// Command breaker runs inside an instance of the container driver's tests and
// tries what must not work there. It serves what came of it, attempt by
// attempt, as a JSON object: the error's words, or "" for what worked.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// inherited are the descriptors above the standard ones that were open before
// this program opened any. Go's runtime has opened its processor limit by then,
// where the instance sees one.
var inherited = func() (open []int) {
	for fd := 3; fd < 4096; fd++ {
		target, err := os.Readlink(fmt.Sprint("/proc/self/fd/", fd))
		if err == nil && target != "/sys/fs/cgroup/cpu.max" {
			open = append(open, fd)
		}
	}
	return open
}()

func main() {
	if len(os.Args) > 1 {
		if err := attempts[os.Args[1]](); err != nil {
			fmt.Print(err)
		}
		return
	}
	http.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(all())
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

// all makes each attempt in a process of its own: some end it.
func all() map[string]string {
	results := map[string]string{}
	if len(inherited) > 0 {
		results["inherited descriptors"] = ""
	}
	for name := range attempts {
		if name != "make orphan" {
			results[name] = run(name)
		}
	}
	return results
}

func run(name string) string {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, "/breaker", name).CombinedOutput()
	words := strings.TrimSpace(string(out))
	if err != nil && words == "" {
		words = err.Error()
	}
	return words
}
