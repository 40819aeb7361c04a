package runc

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"unicode"

	"github.com/google/go-cmp/cmp"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/unifaas/unifaas/internal/faas"
	"github.com/unifaas/unifaas/internal/oci"
)

func encode(t *testing.T, v any) []byte {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestParseLog(t *testing.T) {
	for text, want := range map[string]string{
		"": "",
		`{"level":"error","msg":"first"}` + "\n" + `{"level":"warning","msg":"w"}` + "\n" + `{"level":"error","msg":"last"}`: "last",
		"not JSON\n{\"level\":\"error\",\"msg\":\"a\\nb\"}\n[]\n":                                                            "a b",
		`{"level":"info","msg":"i"}`: "",
		`{"level":7}`:                "",
	} {
		if got := parseLog(strings.NewReader(text)); got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
}

func FuzzParseLog(f *testing.F) {
	f.Add(`{"level":"error","msg":"container init: no such file"}`)
	f.Add("{\"level\":\"fatal\",\"msg\":\"\\u0000\\ud800\"}\n{")
	f.Fuzz(func(t *testing.T, text string) {
		got := parseLog(strings.NewReader(text))
		if strings.ContainsFunc(got, func(r rune) bool { return !unicode.IsPrint(r) }) || len(got) > maxMessage+3 {
			t.Errorf("%q: got %q", text, got)
		}
	})
}

func FuzzParsePid(f *testing.F) {
	f.Add("12\n")
	f.Add("-1")
	f.Fuzz(func(t *testing.T, text string) {
		if pid, err := parsePid(text); err == nil && (pid <= 1 || !strings.Contains(text, strconv.Itoa(pid)) && !strings.Contains(text, "0")) {
			t.Errorf("%q: got %d", text, pid)
		}
	})
}

func TestParseMounts(t *testing.T) {
	text := `29 25 0:26 / /sys/fs/cgroup/memory rw,nosuid shared:9 - cgroup cgroup rw,memory
30 25 0:27 / /a\040b rw - tmpfs tmpfs rw
no mount
31 25 0:27 / /x rw -
`
	got, err := parseMounts(strings.NewReader(text))
	want := []mount{{"/sys/fs/cgroup/memory", "cgroup"}, {"/a b", "tmpfs"}}
	if err != nil || !cmp.Equal(got, want, cmp.AllowUnexported(mount{})) {
		t.Errorf("got %+v, %v; want %+v", got, err, want)
	}
}

func FuzzParseMounts(f *testing.F) {
	f.Add("29 25 0:26 / /sys/fs/cgroup/memory rw,nosuid shared:9 - cgroup cgroup rw,memory")
	f.Fuzz(func(t *testing.T, text string) {
		all, err := parseMounts(strings.NewReader(text))
		if err == nil && len(all) > strings.Count(text, " - ") {
			t.Errorf("%q: got %+v", text, all)
		}
	})
}

func TestSpec(t *testing.T) {
	rootfs := t.TempDir()
	for _, name := range append(oci.MountPoints(), "work") {
		if err := os.Mkdir(filepath.Join(rootfs, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	rev := &faas.Revision{
		Function: faas.Function{Ref: faas.NewRef("f"), Command: []string{"/app"}, Limits: faas.Limits{Disk: 1 << 20}},
		Image:    faas.Image{Rootfs: rootfs},
	}
	spec, err := newSpec(rev)
	if err != nil {
		t.Fatal(err)
	}
	if spec.Linux.Seccomp == nil || len(spec.Linux.MaskedPaths) == 0 || len(spec.Linux.ReadonlyPaths) == 0 || !spec.Root.Readonly || !spec.Process.NoNewPrivileges {
		t.Errorf("protections: got %+v", spec.Linux)
	}
	if diff := cmp.Diff(oci.Sysctls(), spec.Linux.Sysctl); diff != "" {
		t.Error("settings of the kernel (-want +got):\n", diff)
	}
	if got := spec.Process.ApparmorProfile; got != oci.AppArmorProfile() {
		t.Errorf("AppArmor profile: got %q", got)
	}
	if len(spec.Linux.Namespaces) != 6 {
		t.Errorf("namespaces: got %+v", spec.Linux.Namespaces)
	}
	for _, m := range spec.Mounts {
		if m.Type == "bind" || m.Type == "cgroup" {
			t.Errorf("it sees something of the host's: %+v", m)
		}
	}
	if one := inGroup(spec, "/a"); one.Linux.CgroupsPath != "/a" || spec.Linux.CgroupsPath != "" {
		t.Error("the group of one instance is in the specification of all")
	}
	for dir, kind := range map[string]bool{"/work": true, "/tmp": true, "/tmp/x": true, "/missing": false, "/work/../gone": false} {
		rev.Image.Config.WorkDir = dir
		if _, err := newSpec(rev); (err == nil) != kind {
			t.Errorf("working folder %q: got %v", dir, err)
		} else if err != nil && faas.KindOf(err) != faas.KindInvalid {
			t.Errorf("working folder %q: got kind %v", dir, faas.KindOf(err))
		}
	}
	rev.Image.Config.WorkDir = ""
	for _, point := range oci.MountPoints() {
		place := filepath.Join(rootfs, point)
		if err := os.Remove(place); err != nil {
			t.Fatal(err)
		}
		if _, err := newSpec(rev); faas.KindOf(err) != faas.KindInvalid || !strings.Contains(err.Error(), point) {
			t.Errorf("without %s: got %v", point, err)
		}
		if err := os.Symlink("/work", place); err != nil {
			t.Fatal(err)
		}
		if _, err := newSpec(rev); faas.KindOf(err) != faas.KindInvalid || !strings.Contains(err.Error(), point) {
			t.Errorf("with a link at %s: got %v", point, err)
		}
		if err := os.Remove(place); err != nil {
			t.Fatal(err)
		}
		if err := os.Mkdir(place, 0o755); err != nil {
			t.Fatal(err)
		}
	}
}

func TestFitLimits(t *testing.T) {
	got := fitLimits([]specs.POSIXRlimit{
		{Type: "RLIMIT_NOFILE", Soft: 100, Hard: 1000}, {Type: "RLIMIT_NPROC", Soft: 5, Hard: 5}, {Type: "RLIMIT_CORE"},
	}, 500)
	want := []specs.POSIXRlimit{{Type: "RLIMIT_NOFILE", Soft: 100, Hard: 500}, {Type: "RLIMIT_CORE"}}
	if !cmp.Equal(got, want) {
		t.Errorf("got %+v", got)
	}
}

func TestOrdinaryUser(t *testing.T) {
	if err := mayEnter(1000); err == nil || remedyFor(Name, err) != rootRemedy {
		t.Errorf("got %v", err)
	}
	if err := mayEnter(0); err != nil {
		t.Errorf("root: got %v", err)
	}
}
