package kvm

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/unifaas/unifaas/internal/host/leak"
)

// limit is what [Usable] may take, and what a busy machine adds to it.
const limit = runTime + returnTime + 2*time.Second

// probe runs code in a guest, and sees to it that it takes no longer than it
// may and leaves nothing.
func probe(ctx context.Context, t *testing.T, path string, code []byte) error {
	t.Helper()
	before, err := leak.Snapshot(leak.Self())
	if err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	result := usable(ctx, path, code)
	if took := time.Since(begin); took > limit {
		t.Errorf("it took %v", took)
	} else {
		t.Logf("%v: %v", took, result)
	}
	after, err := leak.Snapshot(leak.Self())
	if err != nil {
		t.Fatal(err)
	}
	if left := leak.Diff(before, after); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
	return result
}

// wantUnusable fails unless err is of that stage and its text holds the words.
func wantUnusable(t *testing.T, err error, stage Stage, words string) {
	t.Helper()
	var u *Unusable
	if !errors.As(err, &u) {
		t.Fatalf("got %v, want an Unusable", err)
	}
	if u.Stage != stage || !strings.Contains(u.Error(), words) {
		t.Errorf("got stage %d, %v; want %d, %q", u.Stage, u, stage, words)
	}
}

// needMachines skips where KVM makes no machines.
func needMachines(t *testing.T) {
	t.Helper()
	var u *Unusable
	if err := Usable(t.Context()); errors.As(err, &u) && u.Stage < NoGuest {
		t.Skip(err)
	}
}

func TestUsable(t *testing.T) {
	err := probe(t.Context(), t, device, program)
	required := slices.Contains(strings.Split(os.Getenv("UNIFAAS_REQUIRE"), ","), "kvm")
	if err == nil {
		return
	}
	if required {
		t.Fatalf("KVM must work here: %v", err)
	}
	var u *Unusable
	if !errors.As(err, &u) || u.Stage == 0 || u.Reason == "" {
		t.Errorf("got %#v", err)
	}
}

func TestManyAtOnce(t *testing.T) {
	want := Usable(t.Context())
	results := make(chan error)
	const n = 20
	for range n {
		go func() { results <- Usable(t.Context()) }()
	}
	for range n {
		if got := <-results; (got == nil) != (want == nil) {
			t.Errorf("got %v, alone it was %v", got, want)
		}
	}
}

func TestEndlessGuest(t *testing.T) {
	needMachines(t)
	endless := []byte{0xeb, 0xfe} // jmp $
	wantUnusable(t, probe(t.Context(), t, device, endless), NoGuest, "has not ended")
}

func TestContextEndsFirst(t *testing.T) {
	needMachines(t)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := probe(ctx, t, device, []byte{0xeb, 0xfe}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

// TestOtherEnds runs programs that end otherwise than they should.
func TestOtherEnds(t *testing.T) {
	needMachines(t)
	for _, c := range []struct {
		name string
		code []byte
		want string
	}{
		{"no exception handler", []byte{0xcc}, "exit reason"}, // int3
		{"halts at once", []byte{0xf4}, "exit reason 5 (halt)"},
		{"tells something else", []byte{0xb8, 1, 0, 0, 0, 0xba, tellPort, 0, 0, 0, 0xef}, "the guest computed 0x0 and told 0x1"},
		{"uses another port", []byte{0xba, 0x11, 0, 0, 0, 0xef}, "exit reason 2 (port)"},
		{"touches no memory", []byte{0x48, 0x8b, 0x04, 0x25, 0x00, 0x00, 0x01, 0x00}, "exit reason"}, // mov rax, [memorySize]
	} {
		t.Run(c.name, func(t *testing.T) {
			wantUnusable(t, probe(t.Context(), t, device, c.code), NoGuest, c.want)
		})
	}
}

func TestMissing(t *testing.T) {
	wantUnusable(t, probe(t.Context(), t, filepath.Join(t.TempDir(), "kvm"), program), Missing, "modprobe")
}

func TestForbidden(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root to be another user")
	}
	path := filepath.Join(t.TempDir(), "kvm")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	// The thread opens files as another user, and is thrown away.
	result := make(chan error)
	go func() {
		runtime.LockOSThread()
		_ = unix.Setfsuid(65534)
		result <- usable(t.Context(), path, program)
	}()
	wantUnusable(t, <-result, Forbidden, "usermod -aG kvm")
}

func TestOtherDevice(t *testing.T) {
	err := probe(t.Context(), t, os.DevNull, program)
	wantUnusable(t, err, NoMachine, "ask for the version")
	if !errors.Is(err, unix.ENOTTY) {
		t.Errorf("got %v", err)
	}
}

func BenchmarkUsable(b *testing.B) {
	for b.Loop() {
		_ = Usable(b.Context())
	}
}
