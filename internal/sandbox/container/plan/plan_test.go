package plan

import (
	"bytes"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func example() *Plan {
	return &Plan{
		Argv: []string{"/app", "", "ü"}, Env: []string{"A=b=c"}, Dir: "/work", UID: 1<<32 - 1, GID: 7, Groups: true,
		Hostname: "f", Rootfs: "/r", Tmp: 1 << 40, Shm: 3, Masked: []string{"/proc/kcore"}, ReadOnly: []string{"/proc/sys", "/proc/irq"},
		Limits: []Limit{{Resource: 7, Soft: 1, Hard: 1<<64 - 1}}, Filter: []byte{1, 2, 3}, Cgroup: true, Serve: true,
	}
}

func TestRoundTrip(t *testing.T) {
	for _, want := range []*Plan{example(), {Filter: []byte{}}} {
		got, err := Decode(want.Encode())
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("decoded (-want +got):\n%s", diff)
		}
	}
}

func TestBrokenPlans(t *testing.T) {
	whole := example().Encode()
	for n := range whole {
		if _, err := Decode(whole[:n]); !errors.Is(err, ErrForm) {
			t.Fatalf("the first %d bytes: got %v", n, err)
		}
	}
	if _, err := Decode(append(whole, 0)); !errors.Is(err, ErrForm) {
		t.Errorf("with a byte behind it: got %v", err)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(example().Encode())
	f.Add([]byte(magic))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := Decode(b)
		if err != nil {
			return
		}
		again, err := Decode(p.Encode())
		if err != nil || !bytes.Equal(again.Encode(), p.Encode()) {
			t.Errorf("a plan changes when it is written and read again: %v", err)
		}
	})
}
