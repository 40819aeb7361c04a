package control_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/unifaas/unifaas/internal/control"
	"github.com/unifaas/unifaas/internal/faas"
)

// askEnv makes [TestAsk] ask the platform of the run folder that it names.
const askEnv = "CONTROL_TEST_ASK"

// TestAsk is not a test by itself: [TestControlGroup] runs it as somebody.
func TestAsk(t *testing.T) {
	runDir := os.Getenv(askEnv)
	if runDir == "" {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	status, err := control.NewClient(runDir).Status(ctx)
	if err != nil {
		fmt.Printf("refused %v: %v\n", faas.KindOf(err), err)
		return
	}
	fmt.Printf("answered %s\n", status.Node)
}

// aGroup returns a group of this machine that is not root's, and its number.
func aGroup(t *testing.T) (name string, gid uint32) {
	t.Helper()
	for _, name := range []string{"daemon", "nogroup", "nobody", "users"} {
		g, err := user.LookupGroup(name)
		if err != nil {
			continue
		}
		if n, err := strconv.Atoi(g.Gid); err == nil && n > 0 {
			return name, uint32(n)
		}
	}
	t.Skip("the machine has none of the groups that this test knows")
	return "", 0
}

// TestControlGroup has real users knock: one who is in the group, one who is
// not, and the same one without a group set.
func TestControlGroup(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root to become other users")
	}
	name, gid := aGroup(t)
	const uid, strangers = 54321, 54321
	for _, c := range []struct {
		who, group string
		credential syscall.Credential
		want       string
	}{
		{"a member", name, syscall.Credential{Uid: uid, Gid: strangers, Groups: []uint32{gid}}, "answered uabcde"},
		{"one whose own group it is", name, syscall.Credential{Uid: uid, Gid: gid}, "answered uabcde"},
		{"a stranger", name, syscall.Credential{Uid: uid, Gid: strangers}, "refused unavailable"},
		{"a member, but the group is not named", "", syscall.Credential{Uid: uid, Gid: gid}, "refused unavailable"},
	} {
		t.Run(c.who, func(t *testing.T) {
			base, err := os.MkdirTemp("", "control") //nolint:usetesting // others must be able to pass through it
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = os.RemoveAll(base) })
			runDir := filepath.Join(base, "run")
			if err := os.Mkdir(runDir, 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(base, 0o755); err != nil {
				t.Fatal(err)
			}
			serveGroup(t, runDir, c.group)
			// Through /proc, since the folder of test binaries is private.
			cmd := exec.CommandContext(t.Context(), "/proc/self/exe", "-test.run=^TestAsk$", "-test.v")
			cmd.Env = append(os.Environ(), askEnv+"="+runDir, "GOCOVERDIR=")
			cmd.Dir = "/"
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &c.credential}
			out, err := cmd.CombinedOutput()
			if err != nil || !strings.Contains(string(out), c.want) {
				t.Errorf("got %v, want %q:\n%s", err, c.want, out)
			}
		})
	}
}

func TestControlGroupThatIsNone(t *testing.T) {
	_, err := control.Listen(t.TempDir(), "no-such-group", backend{}, slog.New(slog.DiscardHandler))
	if faas.KindOf(err) != faas.KindInvalid || !strings.Contains(fmt.Sprint(err), "control-group") {
		t.Errorf("got %v (%v)", err, faas.KindOf(err))
	}
}

func serveGroup(t *testing.T, runDir, group string) {
	t.Helper()
	s, err := control.Listen(runDir, group, backend{}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Serve() }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := s.Stop(ctx); err != nil {
			t.Error(err)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}
