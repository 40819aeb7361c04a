package e2e

import (
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/unifaas/unifaas/internal/control"
	"github.com/unifaas/unifaas/internal/sandbox/sandboxtest"
)

// stranger is an ordinary user: neither root nor one that is likely to exist.
const stranger = 54321

func TestOrdinaryUser(t *testing.T) {
	needsRoot(t, "become another user")
	credential := &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: stranger, Gid: stranger}}
	unshare := exec.Command("unshare", "--user", "--map-root-user", "true")
	unshare.SysProcAttr = credential
	if out, err := unshare.CombinedOutput(); err != nil {
		sandboxtest.Skip(t, "gvisor", sandboxtest.NotWorking{
			Why: "an ordinary user may not make a user namespace: " + string(out), Remedy: "see unifaas doctor",
		})
	}
	p := newPlatform(t)
	p.attr = credential
	for _, dir := range []string{p.base, p.functions, p.tmp} {
		if err := os.Chown(dir, stranger, stranger); err != nil {
			t.Fatal(err)
		}
	}
	name := p.deploy(t, "rootless", "single-use = true")
	p.start(t)
	p.want(t, name, "/hello")
	if got := tokens(t, p.together(t, 3, name, "/token")); len(got) != 3 {
		t.Errorf("%d processes for 3 requests", len(got))
	}
	for _, s := range cliJSON[[]control.Sandbox](t, p, "doctor") {
		if s.Name == "gvisor" && !s.Works {
			t.Errorf("doctor says of what just worked: %+v", s)
		}
	}
	stay := p.deploy(t, "stay", "keepalive = \"10m\"")
	token := wantJSON[told](t, p, stay, "/token").Token
	p.kill(t)
	p.start(t)
	if again := wantJSON[told](t, p, stay, "/token").Token; again != token {
		t.Error("the instance did not outlive its platform")
	}
	if out, errs, code := p.cli(t, "ps"); code != 0 || !strings.Contains(out, "stay") {
		t.Errorf("ps ended with %d: %s%s", code, out, errs)
	}
	p.stop(t)
}
