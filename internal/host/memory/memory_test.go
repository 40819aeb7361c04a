package memory

import (
	"errors"
	"math"
	"strings"
	"testing"
)

func TestMachine(t *testing.T) {
	total, err := Total()
	if err != nil {
		t.Fatal(err)
	}
	broken := errors.New("no cgroup")
	for _, c := range []struct {
		name                  string
		bound                 func() (int64, int64, error)
		wantTotal, wantAtMost int64
		told                  error
	}{
		{"no bound", nil, total, total, nil},
		{"bound without limits", func() (int64, int64, error) { return math.MaxInt64, math.MaxInt64, nil }, total, total, nil},
		{"bound", func() (int64, int64, error) { return 1 << 20, 1000, nil }, 1 << 20, 1000, nil},
		{"bound that is used up", func() (int64, int64, error) { return 1 << 20, 0, nil }, 1 << 20, 0, nil},
		{"broken", func() (int64, int64, error) { return 0, 0, broken }, total, total, broken},
	} {
		var told error
		m := Machine{Bound: c.bound, Unbounded: func(err error) { told = err }}
		if got, err := m.Total(); got != c.wantTotal || err != nil || !errors.Is(told, c.told) {
			t.Errorf("%s: Total: got %d, %v; want %d", c.name, got, err, c.wantTotal)
		}
		got, err := m.Available()
		if got > c.wantAtMost || err != nil || c.wantAtMost > 0 && got <= 0 {
			t.Errorf("%s: Available: got %d, %v; want at most %d", c.name, got, err, c.wantAtMost)
		}
	}
}

func TestAvailableIsPartOfTotal(t *testing.T) {
	total, err := Total()
	if err != nil {
		t.Fatal(err)
	}
	available, err := Available()
	if err != nil {
		t.Fatal(err)
	}
	if available <= 0 || available > total {
		t.Errorf("%d bytes available of %d", available, total)
	}
	if _, err := field("NoSuchField"); err == nil {
		t.Error("a field that does not exist was read")
	}
}

func FuzzParse(f *testing.F) {
	f.Add("MemTotal:       24689764 kB\nMemFree:        15728640 kB\nMemAvailable:   20971520 kB\n")
	f.Add("MemAvailable: 9223372036854775807 kB\n")
	f.Add("MemAvailable: -1 kB\n")
	f.Add("MemAvailable:")
	f.Fuzz(func(t *testing.T, text string) {
		n, err := parse(strings.NewReader(text), "MemAvailable")
		if n < 0 || n%1024 != 0 || err != nil && n != 0 {
			t.Errorf("got %d, %v", n, err)
		}
		if err == nil && !strings.Contains(text, "MemAvailable:") {
			t.Errorf("%d comes from nowhere", n)
		}
	})
}
