package container_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/unifaas/unifaas/internal/sandbox/container"
	"github.com/unifaas/unifaas/internal/sandbox/sandboxtest"
	"github.com/unifaas/unifaas/internal/sandbox/sandboxtest/breakout"
)

// ordinary is a user whom nobody else has.
const ordinary = 65533

// TestOrdinaryUser runs the conformance suite and the attempts to break out in
// this binary once more, as a user without any privilege.
func TestOrdinaryUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("the suite itself is run by an ordinary user")
	}
	r := newRig(t, "ctruser")
	r.build("breaker", breakout.Package)
	dir := t.TempDir()
	for _, d := range []string{filepath.Dir(dir), dir} {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for name, from := range map[string]string{"test": self, "guest": filepath.Join(r.rootfs, "guest"), "breaker": filepath.Join(r.rootfs, "breaker")} {
		copyProgram(t, from, filepath.Join(dir, name))
	}
	if err := os.WriteFile(filepath.Join(dir, "launcher"), launcher, 0o755); err != nil {
		t.Fatal(err)
	}
	tmp := filepath.Join(dir, "tmp")
	if err := os.Mkdir(tmp, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(tmp, ordinary, ordinary); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), filepath.Join(dir, "test"), "-test.run=^(TestConformance|TestBreakOut|TestHostile.*|TestOrphans|TestRecoveredExit|TestManyAtOnce)$", "-test.v", "-test.timeout=5m")
	cmd.Dir = dir
	cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + tmp, "TMPDIR=" + tmp,
		"CONTAINER_TEST_LAUNCHER=" + filepath.Join(dir, "launcher"),
		"CONTAINER_TEST_GUEST=" + filepath.Join(dir, "guest"),
		"CONTAINER_TEST_BREAKER=" + filepath.Join(dir, "breaker"),
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: ordinary, Gid: ordinary}}
	cmd.WaitDelay = 10 * time.Second
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("as an ordinary user: %v\n%s", err, failures(string(out)))
	}
	if why, skipped := skipReason(string(out)); skipped {
		sandboxtest.Skip(t, container.Name, sandboxtest.NotWorking{Why: "for an ordinary user: " + why})
	}
}

func copyProgram(t *testing.T, from, to string) {
	t.Helper()
	program, err := os.ReadFile(from)
	if err == nil {
		err = os.WriteFile(to, program, 0o755)
	}
	if err == nil {
		err = os.Chown(to, ordinary, ordinary) // who may hard-link only what is its own
	}
	if err != nil {
		t.Fatal(err)
	}
}

// failures returns what is not about tests that passed.
func failures(out string) string {
	var lines []string
	for line := range strings.Lines(out) {
		if !strings.Contains(line, "--- PASS") && !strings.Contains(line, "=== RUN") {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "")
}

func skipReason(out string) (string, bool) {
	_, why, skipped := strings.Cut(out, "does not work here: ")
	why, _, _ = strings.Cut(why, "\n")
	return why, skipped
}
