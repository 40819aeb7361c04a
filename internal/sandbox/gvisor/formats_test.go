package gvisor

import (
	"bytes"
	"debug/elf"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

func TestStartTime(t *testing.T) {
	stat := "7 (a) b (c) S 1 7 7 0 -1 4194560 1 0 0 0 11 22 0 0 20 0 5 0 4242 1 2 3"
	got, err := parseStartTime([]byte(stat))
	if err != nil || got != 4242 {
		t.Errorf("got %d, %v; want 4242", got, err)
	}
	first, err := startTime(os.Getpid())
	if err != nil || first == 0 {
		t.Fatalf("our own start time: got %d, %v", first, err)
	}
	if again, err := startTime(os.Getpid()); err != nil || again != first {
		t.Errorf("our own start time is %d, then %d, %v", first, again, err)
	}
}

func FuzzStartTime(f *testing.F) {
	f.Add([]byte("7 (a) b (c) S 1 7 7 0 -1 4194560 1 0 0 0 11 22 0 0 20 0 5 0 4242 1 2 3"))
	f.Add([]byte(")"))
	f.Add([]byte(""))
	f.Fuzz(func(t *testing.T, stat []byte) {
		if _, err := parseStartTime(stat); err == nil && len(bytes.Fields(stat)) < 20 {
			t.Errorf("a start time was found in %q", stat)
		}
	})
}

func FuzzTunnelRequest(f *testing.F) {
	f.Add([]byte{0x1f, 0x90, 1})
	f.Add([]byte{0, 0, 2})
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		req, ok := decodeTunnelRequest(b)
		if ok && !bytes.Equal(req.encode(), b) {
			t.Errorf("%x is taken for %+v, which is %x", b, req, req.encode())
		}
	})
}

func TestExitProgram(t *testing.T) {
	machines := map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64}
	for arch, machine := range machines {
		program, err := exitProgram(arch)
		if err != nil {
			t.Fatal(err)
		}
		f, err := elf.NewFile(bytes.NewReader(program))
		if err != nil {
			t.Fatalf("%s: %v", arch, err)
		}
		if f.Machine != machine || f.Type != elf.ET_EXEC || len(f.Progs) != 1 {
			t.Errorf("%s: got %+v", arch, f.FileHeader)
		}
		p := f.Progs[0]
		if p.Type != elf.PT_LOAD || f.Entry < p.Vaddr || f.Entry >= p.Vaddr+p.Filesz || p.Filesz != uint64(len(program)) {
			t.Errorf("%s: entry %#x is not in %+v", arch, f.Entry, p.ProgHeader)
		}
	}
	if _, err := exitProgram("vax"); err == nil {
		t.Error("a program for a vax")
	}
}

func TestDiagnose(t *testing.T) {
	failure := errors.New("it broke")
	for _, c := range []struct {
		name   string
		files  map[string]string
		uid    int
		err    error
		reason string
		remedy string
	}{
		{"unknown", nil, 0, failure, "it broke", ""},
		{"no permission", nil, 0, syscall.EPERM, "operation not permitted", "privileged"},
		{"no user namespaces", map[string]string{"user/max_user_namespaces": "0\n"}, 0, failure, "no user namespaces", "max_user_namespaces"},
		{"AppArmor and a user", map[string]string{"kernel/apparmor_restrict_unprivileged_userns": "1"}, 1000, failure, "AppArmor", "run as root"},
		{"AppArmor and root", map[string]string{"kernel/apparmor_restrict_unprivileged_userns": "1"}, 0, failure, "it broke", ""},
		{"Debian's switch", map[string]string{"kernel/unprivileged_userns_clone": "0"}, 1000, failure, "root only", "unprivileged_userns_clone=1"},
		{"no ptrace", map[string]string{"kernel/yama/ptrace_scope": "3"}, 0, failure, "ptrace", "reboot"},
		{"some ptrace", map[string]string{"kernel/yama/ptrace_scope": "1"}, 1000, failure, "it broke", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			proc := t.TempDir()
			files := map[string]string{"kernel/seccomp/actions_avail": "kill"}
			for name, text := range c.files {
				files[name] = text
			}
			for name, text := range files {
				path := filepath.Join(proc, "sys", name)
				if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			reason, remedy := diagnose(proc, c.uid, c.err)
			if !strings.Contains(reason, c.reason) || !strings.Contains(remedy, c.remedy) || (c.remedy == "") != (remedy == "") {
				t.Errorf("got %q, %q", reason, remedy)
			}
		})
	}
	if reason, _ := diagnose(t.TempDir(), 0, failure); !strings.Contains(reason, "seccomp") {
		t.Errorf("without seccomp: got %q", reason)
	}
}

func TestDescribe(t *testing.T) {
	const (
		exited3  = unix.WaitStatus(3 << 8)
		killed9  = unix.WaitStatus(9)
		exited0  = unix.WaitStatus(0)
		killed11 = unix.WaitStatus(11)
	)
	for _, c := range []struct {
		name              string
		process, function unix.WaitStatus
		known, told       bool
		code, signal      int
		reason            string
	}{
		{"exit", exited3, exited3, true, true, 3, 0, "exit status 3"},
		{"told only", exited0, exited3, false, true, 3, 0, "exit status 3"},
		{"signal", exited0, killed11, true, true, -1, 11, "killed by signal 11"},
		{"process only", exited3, exited0, true, false, 3, 0, "exit status 3"},
		{"sandbox killed", killed9, exited0, true, false, -1, 9, "its sandbox was killed by signal 9"},
		{"nothing known", exited0, exited0, false, false, -1, 0, "while the platform was away"},
	} {
		got := (&instance{}).describe(c.process, c.known, c.function, c.told)
		if got.Code != c.code || got.Signal != c.signal || !strings.Contains(got.Reason, c.reason) || got.At.IsZero() {
			t.Errorf("%s: got %+v", c.name, got)
		}
	}
}
