package firecracker

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

// TestMain lets this program stand in for Firecracker and its jailer: under
// their names it does what a script beside it says.
func TestMain(m *testing.M) {
	switch filepath.Base(os.Args[0]) {
	case "firecracker":
		os.Exit(fakeFirecracker())
	case "jailer":
		fakeJailer()
	}
	goleak.VerifyTestMain(m)
}

// A script is what a fake Firecracker does. It is in script.json beside it.
type script struct {
	Version string
	// Begin happens before it listens.
	Begin act
	// Deaf keeps it from listening.
	Deaf bool
	// On is by request, for instance "PUT /drives/disk0". What is not in it is
	// granted.
	On map[string]act
	// Started happens after the machine's start has been answered.
	Started act
}

// An act is what happens at one moment, in this order.
type act struct {
	Log    []string // lines, "LEVEL TEXT"
	Delay  time.Duration
	Exit   *int   // with this status
	Signal int    // to itself
	Raw    string // instead of an answer
	Status int    // instead of success
	Fault  string // with Status
}

// fakeDir is where the script is. It is passed on by the fake jailer.
const fakeDir = "UNIFAAS_TEST_FAKE"

type fake struct {
	script
	dir, id string
	log     *os.File

	mu    sync.Mutex
	state string
	vsock string
}

func fakeFirecracker() int {
	args := map[string]string{}
	for i := 1; i < len(os.Args); i++ {
		if i+1 < len(os.Args) && !strings.HasPrefix(os.Args[i+1], "--") {
			args[os.Args[i]] = os.Args[i+1]
			i++
			continue
		}
		args[os.Args[i]] = ""
	}
	f := &fake{dir: os.Getenv(fakeDir), id: args["--id"], state: "Not started"}
	if f.dir == "" {
		self, _ := os.Executable()
		f.dir = filepath.Dir(self)
	}
	text, err := os.ReadFile(filepath.Join(f.dir, "script.json"))
	if err == nil {
		err = json.Unmarshal(text, &f.script)
	}
	if err != nil {
		fmt.Println(err)
		return 99
	}
	if _, ok := args["--version"]; ok {
		fmt.Printf("Firecracker v%s\n\n", f.Version)
		return 0
	}
	f.record(fmt.Sprintf("RUN as %d:%d in %s with %s", os.Getuid(), os.Getgid(), strings.Join(os.Environ(), " "), strings.Join(os.Args[1:], " ")))
	if f.log, err = os.OpenFile(args["--log-path"], os.O_RDWR|unix.O_NONBLOCK, 0); err != nil {
		fmt.Println(err)
		return 98
	}
	fmt.Println("the console of", f.id)
	f.say("INFO Running Firecracker v" + f.Version)
	f.do(f.Begin, nil)
	if f.Deaf {
		time.Sleep(time.Hour)
	}
	l, err := net.Listen("unix", args["--api-sock"])
	if err != nil {
		fmt.Println(err)
		return 97
	}
	fmt.Println(http.Serve(l, f))
	return 96
}

// fakeJailer does what the jailer does, but for the change of the root: this
// program is not static.
func fakeJailer() {
	value := func(name string) string {
		for i, a := range os.Args {
			if a == name {
				return os.Args[i+1]
			}
		}
		return ""
	}
	must := func(err error) {
		if err != nil {
			fmt.Println("jailer:", err)
			os.Exit(1)
		}
	}
	program, id := value("--exec-file"), value("--id")
	root := filepath.Join(value("--chroot-base-dir"), filepath.Base(program), id, "root")
	uid, err := strconv.Atoi(value("--uid"))
	must(err)
	gid, err := strconv.Atoi(value("--gid"))
	must(err)
	must(os.MkdirAll(root, 0o700))
	text, err := os.ReadFile(program)
	must(err)
	inside := filepath.Join(root, filepath.Base(program))
	must(os.WriteFile(inside, text, 0o755))
	must(os.Chown(root, uid, gid))
	must(os.Chmod(root, 0o700))
	must(os.Chdir(root))
	extra := []string{"firecracker", "--id", id}
	for i, a := range os.Args {
		if a == "--" {
			extra = append(extra, os.Args[i+1:]...)
		}
	}
	self, err := os.Executable()
	must(err)
	fd, err := unix.Open(inside, unix.O_PATH|unix.O_CLOEXEC, 0)
	must(err)
	must(syscall.Setgroups(nil))
	must(syscall.Setgid(gid))
	must(syscall.Setuid(uid))
	must(syscall.Exec(fmt.Sprintf("/proc/self/fd/%d", fd), extra, []string{fakeDir + "=" + filepath.Dir(self)}))
}

func (f *fake) record(text string) {
	out, err := os.OpenFile(filepath.Join(f.dir, "requests"), os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o666)
	if err != nil {
		fmt.Println(err)
		os.Exit(95)
	}
	fmt.Fprintln(out, text)
	out.Close()
}

func (f *fake) say(text string) {
	level, text, _ := strings.Cut(text, " ")
	fmt.Fprintf(f.log, "2026-11-28T12:51:15.123456789 [%s:main:%s] %s\n", f.id, level, text)
}

// do carries out an act and reports whether that was the answer.
func (f *fake) do(a act, w http.ResponseWriter) bool {
	for _, text := range a.Log {
		f.say(text)
	}
	time.Sleep(a.Delay)
	switch {
	case a.Exit != nil:
		os.Exit(*a.Exit)
	case a.Signal != 0:
		_ = syscall.Kill(os.Getpid(), syscall.Signal(a.Signal))
		time.Sleep(time.Hour)
	case a.Raw != "":
		conn, _, err := w.(http.Hijacker).Hijack()
		if err == nil {
			_, _ = io.WriteString(conn, a.Raw)
			_ = conn.Close()
		}
		return true
	case a.Status != 0:
		refuse(w, a.Status, a.Fault)
		return true
	}
	return false
}

func refuse(w http.ResponseWriter, status int, fault string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]string{"fault_message": fault})
}

func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	body, _ := io.ReadAll(r.Body)
	request := r.Method + " " + r.URL.Path
	f.record(strings.TrimSpace(request + " " + string(body)))
	if f.do(f.On[request], w) {
		return
	}
	if err := f.grant(w, request, body); err != nil {
		refuse(w, http.StatusBadRequest, err.Error())
	}
}

func (f *fake) grant(w http.ResponseWriter, request string, body []byte) error {
	var in struct {
		UDSPath      string `json:"uds_path"`
		State        string `json:"state"`
		SnapshotPath string `json:"snapshot_path"`
		MemFilePath  string `json:"mem_file_path"`
		MemBackend   struct {
			BackendPath string `json:"backend_path"`
		} `json:"mem_backend"`
	}
	if len(body) > 0 {
		if err := json.Unmarshal(body, &in); err != nil {
			return err
		}
	}
	answer := map[string]string{}
	switch request {
	case "GET /version":
		answer["firecracker_version"] = f.Version
	case "GET /":
		answer["state"], answer["vmm_version"], answer["id"] = f.state, f.Version, f.id
	case "PUT /vsock":
		f.vsock = in.UDSPath
	case "PUT /actions":
		f.start()
	case "PATCH /vm":
		f.state = map[string]string{"Paused": "Paused", "Resumed": "Running"}[in.State]
	case "PUT /snapshot/create":
		if f.state != "Paused" {
			return errors.New("the machine is not paused")
		}
		return errors.Join(os.WriteFile(in.SnapshotPath, []byte("state"), 0o600), os.WriteFile(in.MemFilePath, []byte("memory"), 0o600))
	case "PUT /snapshot/load":
		for _, path := range []string{in.SnapshotPath, in.MemBackend.BackendPath} {
			if _, err := os.ReadFile(path); err != nil {
				return err
			}
		}
		f.start()
	}
	if len(answer) == 0 {
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
	return json.NewEncoder(w).Encode(answer)
}

func (f *fake) start() {
	f.state = "Running"
	if f.vsock != "" {
		l, err := net.Listen("unix", f.vsock)
		if err == nil {
			go serveVsock(l)
		}
	}
	go func() {
		time.Sleep(50 * time.Millisecond) // after the answer
		f.do(f.Started, nil)
	}()
}

// serveVsock has an echo at port 7, speaks nonsense at port 8, says nothing at
// port 9, and dials the host's port 5 when it is dialled at port 10.
func serveVsock(l net.Listener) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer conn.Close()
			in := bufio.NewReader(conn)
			switch line, _ := in.ReadString('\n'); line {
			case "CONNECT 7\n":
				_, _ = io.WriteString(conn, "OK 1073741824\nhello ")
				_, _ = io.Copy(conn, in)
			case "CONNECT 8\n":
				_, _ = io.WriteString(conn, strings.Repeat("what? ", 20))
			case "CONNECT 9\n":
				time.Sleep(time.Hour)
			case "CONNECT 10\n":
				_, _ = io.WriteString(conn, "OK 1073741825\n")
				if out, err := net.Dial("unix", l.Addr().String()+"_5"); err == nil {
					_, _ = io.WriteString(out, "from the guest")
					out.Close()
				}
			}
		}()
	}
}
