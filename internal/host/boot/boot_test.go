package boot

import "testing"

func TestIsCurrent(t *testing.T) {
	now, err := ID()
	if err != nil {
		t.Fatal(err)
	}
	if len(now) != 36 {
		t.Errorf("ID: got %q, want a UUID", now)
	}
	for id, want := range map[string]bool{
		now: true, "": true, "00000000-0000-0000-0000-000000000000": false, now + "x": false,
	} {
		if got := IsCurrent(id); got != want {
			t.Errorf("IsCurrent(%q): got %v", id, got)
		}
	}
}
