package container_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/unifaas/unifaas/internal/sandbox"
	"github.com/unifaas/unifaas/internal/sandbox/sandboxtest/breakout"
)

// TestOrphans: what the function's children leave behind is waited for.
func TestOrphans(t *testing.T) {
	r := newRig(t, "ctrorphans")
	r.build("breaker", breakout.Package)
	r.rev.Function.Command = []string{"/breaker"}
	inst, _, err := r.start("one")
	if err != nil {
		t.Fatal(err)
	}
	// The program makes twenty orphans, and waits until they have ended.
	got, err := get(r.ctx(), inst, "/orphans")
	if err != nil || got != "0 left" {
		t.Errorf("got %q, %v; want no zombie", got, err)
	}
}

// TestKernelTakesFunctionsFirst: where the machine is short of memory, a
// function goes before the platform.
func TestKernelTakesFunctionsFirst(t *testing.T) {
	r := newRig(t, "ctroom")
	inst, _, err := r.start("one")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := get(r.ctx(), inst, "/file?path=/proc/self/oom_score_adj"); err != nil || strings.TrimSpace(got) != "500" {
		t.Errorf("oom_score_adj: got %q, %v; want 500", got, err)
	}
}

// TestOwners: the files of the image belong, inside, to whom they belong to in
// the image, where the file system can do that.
func TestOwners(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("an ordinary user's files have one owner")
	}
	r := newRig(t, "ctrowners")
	r.build("breaker", breakout.Package)
	secret := filepath.Join(r.rootfs, "secret")
	if err := os.WriteFile(secret, []byte("for 1234 only"), 0o400); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(secret, 1234, 2345); err != nil {
		t.Fatal(err)
	}
	for user, want := range map[string]string{"1234:2345": "for 1234 only", "1235:2345": "permission denied", "0:0": "permission denied"} {
		r.rev.Function.Command, r.rev.Image.Config.User = []string{"/breaker"}, user
		inst, _, err := r.start("as-" + strings.ReplaceAll(user, ":", "-"))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := get(r.ctx(), inst, "/file?path=/secret"); !strings.Contains(got+fmt.Sprint(err), want) {
			t.Errorf("user %s: got %q, %v; want %q", user, got, err, want)
		}
	}
}

// TestUsersAreNotShared: on the host, two instances are different users, and
// neither is one that anybody has.
func TestUsersAreNotShared(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("an ordinary user has one number")
	}
	r := newRig(t, "ctrusers")
	owners := map[string]bool{}
	for _, name := range []string{"one", "two", "three"} {
		_, rec, err := r.start(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, pid := range processesOf(t, rec) {
			status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
			if err != nil {
				t.Fatal(err)
			}
			_, uid, _ := strings.Cut(string(status), "Uid:\t")
			uid, _, _ = strings.Cut(uid, "\t")
			if n, err := strconv.Atoi(uid); err != nil || n < 2000200000 {
				t.Errorf("process %d is user %s on the host", pid, uid)
			}
			owners[uid] = true
		}
	}
	if len(owners) != 3 {
		t.Errorf("three instances are the users %v", owners)
	}
}

// processesOf returns the processes in an instance's pid namespace.
func processesOf(t testing.TB, rec *sandbox.Record) []int {
	t.Helper()
	_, pid, _ := strings.Cut(string(rec.State), `"pid":`)
	pid, _, _ = strings.Cut(pid, ",")
	space, err := os.Readlink("/proc/" + pid + "/ns/pid_for_children")
	if err != nil {
		t.Fatal(err)
	}
	all, err := filepath.Glob("/proc/[0-9]*/ns/pid_for_children")
	if err != nil {
		t.Fatal(err)
	}
	var pids []int
	for _, link := range all {
		if other, err := os.Readlink(link); err == nil && other == space {
			n, err := strconv.Atoi(strings.Split(link, "/")[2])
			if err != nil {
				t.Fatal(err)
			}
			pids = append(pids, n)
		}
	}
	if len(pids) < 2 {
		t.Fatalf("the instance's processes are %v", pids)
	}
	return pids
}

// TestInitIsSmall: beside the function an instance has one process, and that
// takes next to nothing.
func TestInitIsSmall(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("an ordinary user's launcher stays")
	}
	r := newRig(t, "ctrsmall")
	_, rec, err := r.start("one")
	if err != nil {
		t.Fatal(err)
	}
	pids := processesOf(t, rec)
	if len(pids) != 2 {
		t.Errorf("the instance has the processes %v, want its first one and the function", pids)
	}
	_, first, _ := strings.Cut(string(rec.State), `"pid":`)
	first, _, _ = strings.Cut(first, ",")
	// It becomes what it will stay only after the function has been started.
	const enough = 128 << 10
	deadline := time.Now().Add(20 * time.Second)
	for private(t, first, "Private_Dirty:") > enough && time.Now().Before(deadline) {
		time.Sleep(time.Millisecond)
	}
	if got := private(t, first, "Private_Dirty:"); got > enough {
		t.Errorf("the first process takes %d bytes of private memory", got)
	}
}

// private returns a figure of a process's memory in bytes.
func private(t testing.TB, pid, field string) int {
	t.Helper()
	text, err := os.ReadFile("/proc/" + pid + "/smaps_rollup")
	if err != nil {
		t.Fatal(err)
	}
	_, value, _ := strings.Cut(string(text), field)
	value, _, _ = strings.Cut(strings.TrimSpace(value), " ")
	kib, err := strconv.Atoi(value)
	if err != nil {
		t.Fatal(err)
	}
	return kib << 10
}
