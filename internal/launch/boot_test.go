package launch_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/unifaas/unifaas/internal/faas"
	"github.com/unifaas/unifaas/internal/host/boot"
	"github.com/unifaas/unifaas/internal/sandbox"
	"github.com/unifaas/unifaas/internal/sandbox/sandboxtest"
)

// TestRecoverOfAnotherBoot has a run folder that was on disk when the machine
// was started again: what the record names is left alone, and the folder goes.
func TestRecoverOfAnotherBoot(t *testing.T) {
	p, world := newPlatform(t), &sandboxtest.World{}
	alive, err := p.launcher(t, sandboxtest.NewFake(sandboxtest.FakeOptions{World: world})).Launch(t.Context(), revision(nil))
	if err != nil {
		t.Fatal(err)
	}
	now, err := boot.ID()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(p.left(t)[0], "record.json")
	raw, err := os.ReadFile(path)
	if err != nil || !bytes.Contains(raw, []byte(now)) {
		t.Fatalf("the record has not the boot's id: %v\n%s", err, raw)
	}
	raw = bytes.ReplaceAll(raw, []byte(now), []byte("00000000-0000-0000-0000-000000000000"))
	if err := os.WriteFile(path, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	recovered, err := p.launcher(t, sandboxtest.NewFake(sandboxtest.FakeOptions{World: world})).Recover(t.Context())
	if err != nil || len(recovered) != 0 {
		t.Errorf("recovered %v, %v; want nothing", recovered, err)
	}
	if left := p.left(t); len(left) != 0 {
		t.Errorf("left %v", left)
	}
	if got := get(t, alive, "/hello"); !strings.HasPrefix(got, "200 ") {
		t.Errorf("what the record's names mean now answered %q", got)
	}
	if err := alive.Stop(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestRecoveredKeepsItsAge looks at when an instance of an earlier run was made.
func TestRecoveredKeepsItsAge(t *testing.T) {
	p, world := newPlatform(t), &sandboxtest.World{}
	if _, err := p.launcher(t, sandboxtest.NewFake(sandboxtest.FakeOptions{World: world})).Launch(t.Context(), revision(nil)); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(p.left(t)[0], "record.json")
	var rec sandbox.Record
	raw, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(raw, &rec)
	}
	if err != nil {
		t.Fatal(err)
	}
	rec.Created = time.Now().Add(-3 * time.Hour)
	if raw, err = json.Marshal(rec); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	recovered, err := p.launcher(t, sandboxtest.NewFake(sandboxtest.FakeOptions{World: world})).Recover(t.Context())
	if err != nil || len(recovered) != 1 {
		t.Fatalf("recovered %v, %v", recovered, err)
	}
	inst := recovered[0].Instance
	defer func() {
		if err := inst.Stop(t.Context()); err != nil {
			t.Error(err)
		}
	}()
	made, ok := inst.(interface{ Created() time.Time })
	if !ok || !made.Created().Equal(rec.Created) {
		t.Errorf("it was made at %v, want %v", made, rec.Created)
	}
}

// TestShortageIsNotTheFunctionsFault has the kernel refuse something at each
// step of a start.
func TestShortageIsNotTheFunctionsFault(t *testing.T) {
	refused := faas.Errorf(faas.KindUnavailable, "its sandbox ended: %w", syscall.EAGAIN)
	for _, c := range []struct {
		step  sandboxtest.Step
		fault sandboxtest.Fault
	}{
		{sandboxtest.StepStart, sandboxtest.Fault{Err: syscall.EAGAIN}},
		{sandboxtest.StepStart, sandboxtest.Fault{Err: refused}},
		{sandboxtest.StepReady, sandboxtest.Fault{Err: syscall.EAGAIN}},
	} {
		fake := sandboxtest.NewFake(sandboxtest.FakeOptions{Script: sandboxtest.At(c.step, 0, c.fault)})
		_, err := newPlatform(t).launcher(t, fake).Launch(t.Context(), revision(nil))
		wantShortage(t, err)
	}
	starved := starvedDriver{sandboxtest.NewFake(sandboxtest.FakeOptions{}), refused}
	_, err := newPlatform(t).launcher(t, starved).Launch(t.Context(), revision(nil))
	wantShortage(t, err)
}

func wantShortage(t *testing.T, err error) {
	t.Helper()
	text := fmt.Sprint(err)
	if faas.KindOf(err) != faas.KindUnavailable || !strings.Contains(text, "has run out of processes") || !strings.Contains(text, "pids.max") {
		t.Errorf("got %v (%v), want what ran out and what to raise", err, faas.KindOf(err))
	}
}

// A starvedDriver's instances end before they are ready, and say why.
type starvedDriver struct {
	*sandboxtest.Fake
	why error
}

func (d starvedDriver) Start(ctx context.Context, a sandbox.Artifact, s sandbox.Spec) (sandbox.Instance, error) {
	inst, err := d.Fake.Start(ctx, a, s)
	return starvedInstance{inst, d}, err
}

type starvedInstance struct {
	sandbox.Instance
	driver starvedDriver
}

func (i starvedInstance) Ready(context.Context) error {
	i.driver.World().Crash(i.ID())
	<-i.Done()
	return i.driver.why
}
