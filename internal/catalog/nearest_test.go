package catalog

import (
	"testing"

	"pgregory.net/rapid"
)

func TestSuggest(t *testing.T) {
	keys := []string{"memory", "keepalive", "max-instances", "min-instances", "env"}
	for in, want := range map[string]string{
		"memroy":       ` (did you mean "memory"?)`,
		"Keep-Alive":   ` (did you mean "keepalive"?)`,
		"mix-instance": ` (did you mean "max-instances"?)`,
		"environment":  "",
		"zzz":          "",
	} {
		if got := suggest(in, keys); got != want {
			t.Errorf("suggest(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestDistanceIsAMetric(t *testing.T) {
	word := rapid.StringMatching(`[a-d]{0,8}`)
	rapid.Check(t, func(t *rapid.T) {
		a, b, c := word.Draw(t, "a"), word.Draw(t, "b"), word.Draw(t, "c")
		if d := distance(a, b); d != distance(b, a) || (d == 0) != (a == b) {
			t.Errorf("distance(%q, %q) = %d, reversed %d", a, b, d, distance(b, a))
		}
		if distance(a, c) > distance(a, b)+distance(b, c) {
			t.Errorf("triangle %q %q %q", a, b, c)
		}
	})
}
