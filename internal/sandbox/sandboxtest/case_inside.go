package sandboxtest

import (
	"encoding/hex"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/unifaas/unifaas/internal/faas"
	"github.com/unifaas/unifaas/internal/sandbox/sandboxtest/guest"
)

var insideCases = []testCase{
	{name: "Program", needs: []Promise{Program}, run: program},
	{name: "ProgramOfTheImage", needs: []Promise{Program}, run: programOfTheImage},
	{name: "ProcessesAreHidden", needs: []Promise{Program, Proc}, run: processesAreHidden},
	{name: "ReadOnlyRoot", needs: []Promise{ReadOnlyRoot}, run: readOnlyRoot},
	{name: "TmpIsPrivate", needs: []Promise{Program}, run: tmpIsPrivate},
	{name: "NoNetwork", needs: []Promise{NoNetwork}, run: noNetwork},
	{name: "NoPrivileges", needs: []Promise{NoPrivileges}, run: noPrivileges},
	{name: "HostIsHidden", needs: []Promise{Program}, run: hostIsHidden},
}

func (r *running) info() guest.Info {
	r.f.Helper()
	var info guest.Info
	r.getJSON("/info", &info)
	return info
}

func program(f *fixture) {
	const odd = "with = sign, \"quotes\", 'more', a\ttab and ünïcode"
	r := f.start(env("GREETING", odd), env("EMPTY", ""), func(rev *faas.Revision) {
		rev.Function.Command = []string{"/guest", "two words", "", "--three=ü"}
		rev.Image.Config.Env = []string{"FROM_IMAGE=1", "GREETING=weaker"}
		rev.Image.Config.User = "1234:2345"
		rev.Image.Config.WorkDir = "/work"
	})
	info := r.info()
	if want := r.spec.Revision.Function.Command; !slices.Equal(info.Args, want) {
		f.Errorf("argv: got %q, want %q", info.Args, want)
	}
	for _, want := range r.spec.Revision.Environ() {
		if !slices.Contains(info.Env, want) {
			f.Errorf("environment: got %q, want %q in it", info.Env, want)
		}
	}
	for _, kv := range info.Env {
		name, _, _ := strings.Cut(kv, "=")
		if _, ours := os.LookupEnv(name); ours && !slices.Contains(r.spec.Revision.Environ(), kv) && name != "HOME" && name != "HOSTNAME" {
			f.Errorf("environment: %q comes from the platform's own", kv)
		}
	}
	if f.gives(Users) && (info.UID != 1234 || info.GID != 2345) {
		f.Errorf("user: got %d:%d, want 1234:2345", info.UID, info.GID)
	}
	if info.Dir != "/work" {
		f.Errorf("working folder: got %q, want /work", info.Dir)
	}
}

// programOfTheImage has no command: the image's entrypoint and user count.
func programOfTheImage(f *fixture) {
	r := f.start(func(rev *faas.Revision) {
		rev.Function.Command = nil
		rev.Image.Config.Entrypoint = []string{"/guest", "from the image"}
		rev.Image.Config.User = "guest"
	})
	info := r.info()
	if want := r.spec.Revision.Image.Config.Entrypoint; !slices.Equal(info.Args, want) {
		f.Errorf("argv: got %q, want %q", info.Args, want)
	}
	if f.gives(Users) && (info.UID != 1234 || info.GID != 2345) {
		f.Errorf("user: got %d:%d, want the passwd file's 1234:2345", info.UID, info.GID)
	}
	if info.Dir != "/" {
		f.Errorf("working folder: got %q, want /", info.Dir)
	}
}

func processesAreHidden(f *fixture) {
	info := f.start().info()
	if len(info.Pids) == 0 || len(info.Pids) > 3 {
		f.Errorf("/proc shows the processes %v, want the function's alone", info.Pids)
	}
}

func (r *running) write(path string, bytes int64) guest.Result {
	r.f.Helper()
	var result guest.Result
	r.getJSON(query("/write", "path", path, "bytes", bytes), &result)
	return result
}

func readOnlyRoot(f *fixture) {
	r := f.start(func(rev *faas.Revision) { rev.Image.Config.User = "0:0" })
	for _, path := range []string{"/new", "/guest", "/etc/passwd", "/work/new"} {
		if got := r.write(path, 10); got.Error == "" {
			f.Errorf("the function wrote %s", path)
		}
	}
	for _, name := range []string{"new", "work/new"} {
		if _, err := os.Stat(filepath.Join(f.suite.rootfs, name)); err == nil {
			f.Fatalf("the shared root file system has got a file %s", name)
		}
	}
}

// tmpIsPrivate wants an instance to see neither the host's /tmp nor another's.
func tmpIsPrivate(f *fixture) {
	one, two := f.start(), f.start()
	if got := one.write("/tmp/mine", 1000); got.Error != "" || got.Bytes != 1000 {
		f.Fatalf("write /tmp/mine: %+v", got)
	}
	if got := len(one.get(query("/file", "path", "/tmp/mine"))); got != 1000 {
		f.Errorf("read /tmp/mine: %d bytes, want 1000", got)
	}
	for _, path := range []string{"/tmp/mine", f.base} {
		if answer, err := two.request(f.ctx(), http.MethodGet, query("/file", "path", path), nil); err == nil || !strings.Contains(err.Error(), "no such file") {
			f.Errorf("another instance finds %s: %.20q, %v", path, answer, err)
		}
	}
	if _, err := os.Stat("/tmp/mine"); err == nil {
		f.Error("the instance's /tmp is the host's")
	}
}

// noNetwork tries listeners of the host on every address that it has.
func noNetwork(f *fixture) {
	r := f.start()
	for _, i := range r.info().Interfaces {
		if !strings.HasPrefix(i, "lo ") {
			f.Errorf("the instance has the network interface %s", i)
		}
	}
	l, err := net.Listen("tcp", ":0")
	if err != nil {
		f.Fatal(err)
	}
	defer l.Close()
	port := strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
	targets := []string{net.JoinHostPort("127.0.0.1", port), net.JoinHostPort("::1", port)}
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		f.Fatal(err)
	}
	for _, a := range addrs {
		if ip, ok := a.(*net.IPNet); ok && ip.IP.IsGlobalUnicast() {
			targets = append(targets, net.JoinHostPort(ip.IP.String(), port))
		}
	}
	for _, target := range targets {
		var result guest.Result
		if r.getJSON(query("/dial", "network", "tcp", "addr", target), &result); result.Error == "" {
			f.Errorf("the instance reached %s on the host", target)
		}
	}
	f.wantNoAbstractSocket(r)
	own := guest.Result{}
	if r.getJSON(query("/dial", "network", "tcp", "addr", "127.0.0.1:8080"), &own); own.Error != "" {
		f.Errorf("the instance can't reach itself by its loopback interface: %s", own.Error)
	}
}

// wantNoAbstractSocket checks that r does not share the host's abstract unix
// sockets, which belong to a network namespace and to no folder.
func (f *fixture) wantNoAbstractSocket(r *running) {
	f.Helper()
	name := "@" + f.host.Node + "-listener"
	l, err := net.Listen("unix", name)
	if err != nil {
		f.Fatal(err)
	}
	defer l.Close()
	var result guest.Result
	if r.getJSON(query("/dial", "network", "unix", "addr", name), &result); result.Error == "" {
		f.Error("the instance reached an abstract unix socket of the host")
	}
}

// noPrivileges reads the function's own status; the fields are those of
// proc_pid_status(5).
func noPrivileges(f *fixture) {
	for _, user := range []string{"0:0", "1234:2345"} {
		r := f.start(func(rev *faas.Revision) { rev.Image.Config.User = user })
		status := map[string]string{}
		for line := range strings.Lines(r.get(query("/file", "path", "/proc/self/status"))) {
			name, value, _ := strings.Cut(line, ":")
			status[name] = strings.TrimSpace(value)
		}
		for _, set := range []string{"CapEff", "CapPrm", "CapInh", "CapBnd"} {
			if strings.Trim(status[set], "0") != "" || status[set] == "" {
				f.Errorf("user %s: %s is %q, want no capability", user, set, status[set])
			}
		}
		if nnp, told := status["NoNewPrivs"]; told && nnp != "1" {
			f.Errorf("user %s: NoNewPrivs is %q, want 1", user, nnp)
		}
	}
}

// hostIsHidden looks for what gives the host away.
func hostIsHidden(f *fixture) {
	r := f.start(func(rev *faas.Revision) { rev.Image.Config.User = "0:0" })
	host, err := os.Hostname()
	if err != nil {
		f.Fatal(err)
	}
	if got := r.info().Hostname; got == host {
		f.Errorf("the instance has the host's name %q", got)
	}
	for _, path := range []string{"/proc/1/root" + f.suite.rootfs, f.suite.rootfs, "/etc/shadow", "/proc/kcore"} {
		answer, err := r.request(f.ctx(), http.MethodGet, query("/file", "path", path), nil)
		// What is masked by the null device is an empty file.
		if err == nil && answer != "" {
			f.Errorf("the instance can read %s: %s", path, hex.EncodeToString([]byte(answer[:min(len(answer), 16)])))
		}
	}
	if !f.gives(Proc) {
		return
	}
	mounts := r.get(query("/file", "path", "/proc/self/mounts"))
	for _, secret := range []string{f.base, f.suite.rootfs} {
		if strings.Contains(mounts, secret) {
			f.Errorf("the instance's mount table shows the host's path %s:\n%s", secret, mounts)
		}
	}
}
