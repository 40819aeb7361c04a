package measure

import (
	"bytes"
	"encoding/json"
	"math"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func near(a, b float64) bool { return math.Abs(a-b) <= 1e-9*(1+math.Abs(a)+math.Abs(b)) }

func TestQuantiles(t *testing.T) {
	s := Sample{4, 1, 3, 2}
	for _, c := range []struct{ q, want float64 }{{0, 1}, {0.25, 1.75}, {0.5, 2.5}, {0.75, 3.25}, {1, 4}} {
		if got := s.Quantile(c.q); !near(got, c.want) {
			t.Errorf("quantile %v of %v is %v, want %v", c.q, s, got, c.want)
		}
	}
	if s[0] != 4 {
		t.Error("the sample was put in order, which loses the rounds")
	}
	if !math.IsNaN(Sample(nil).Median()) {
		t.Error("an empty sample has a median")
	}
	if got := (Sample{1, 1, 2, 2, 4, 6, 9}).MAD(); !near(got, 1) {
		t.Errorf("MAD is %v, want 1", got)
	}
}

func TestMedianIsBetweenAndOrderFree(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := Sample(rapid.SliceOfN(rapid.Float64Range(-1e6, 1e6), 1, 30).Draw(t, "sample"))
		m := s.Median()
		if m < s.Quantile(0) || m > s.Max() {
			t.Fatalf("median %v is not within %v", m, s)
		}
		if other := Sample(rapid.Permutation(s).Draw(t, "permuted")).Median(); other != m {
			t.Fatalf("median depends on the order: %v and %v", m, other)
		}
	})
}

func TestRatiosArePairwise(t *testing.T) {
	got := Sample{2, 9, 4}.Ratios(Sample{1, 0, 8, 5})
	if len(got) != 2 || !near(got[0], 2) || !near(got[1], 0.5) {
		t.Errorf("ratios are %v", got)
	}
}

func TestTrendIgnoresOutliers(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		start, slope := rapid.Float64Range(1, 100).Draw(t, "start"), rapid.Float64Range(0, 5).Draw(t, "slope")
		s := make(Sample, 41)
		for i := range s {
			s[i] = start + slope*float64(i)
		}
		s[rapid.IntRange(0, 40).Draw(t, "where")] = 1e4
		line := s.Trend()
		if got := (line.Last - line.First) / 40; math.Abs(got-slope) > 0.01+slope/10 {
			t.Fatalf("slope is %v, want about %v", got, slope)
		}
	})
	if g := (Sample{5, 5, 5}).Trend().Growth(); !near(g, 1) {
		t.Errorf("a flat series grows by %v", g)
	}
	if g := (Sample{7}).Trend().Growth(); !near(g, 1) {
		t.Errorf("one value grows by %v", g)
	}
}

func TestRowsSayWhetherTheyMet(t *testing.T) {
	for _, c := range []struct {
		row    Row
		missed bool
	}{
		{Compare("a", "ms", Sample{10, 11, 9}, "p", Sample{10, 10, 10}, AtMost(1)), false},
		{Compare("a", "ms", Sample{12, 11, 13}, "p", Sample{10, 10, 10}, AtMost(1.15)), true},
		{Compare("a", "1/s", Sample{12}, "p", Sample{10}, AtLeast(1)), false},
		{Compare("a", "1/s", Sample{9}, "p", Sample{10}, AtLeast(1)), true},
		{Compare("a", "1/s", Sample{9}, "p", Sample{10}, nil), false},
		{Compare("a", "1/s", Sample{12}, "p", Sample{10}, AtLeast(1)).Invalid("too noisy"), true},
		{Compare("a", "1/s", nil, "p", Sample{10}, AtLeast(1)), true},
		{Limit("a", "MiB", Sample{20}, 24), false},
		{Limit("a", "MiB", Sample{25}, 24), true},
		{Limit("a", "MiB", Sample{20, 20, 25}, 24), true},
		{Missing("a", "ms", "p", AtMost(1), "no such thing here"), true},
		{Missing("a", "ms", "p", nil, "no such thing here"), false},
	} {
		if c.row.Missed() != c.missed {
			t.Errorf("%+v: missed is %v", c.row, c.row.Missed())
		}
	}
}

func TestJSONHasTheAgreedFields(t *testing.T) {
	var out bytes.Buffer
	rows := []Row{
		Compare("cold", "ms", Sample{100, 120, 110}, "runsc", Sample{110, 110, 110}, AtMost(1.15)),
		Missing("cold", "ms", "docker", AtMost(0.6), "no dockerd"),
	}
	if err := WriteJSON(&out, rows); err != nil {
		t.Fatal(err)
	}
	var list []map[string]any
	if err := json.Unmarshal(out.Bytes(), &list); err != nil {
		t.Fatalf("%v in %s", err, &out)
	}
	for _, field := range []string{"name", "unit", "ours", "peer", "peer_value", "ratio", "target"} {
		for _, row := range list {
			if _, ok := row[field]; !ok {
				t.Errorf("no %q in %v", field, row)
			}
		}
	}
	if list[0]["ratio"] != 1.0 || list[0]["target"] != "<= 1.15" || list[0]["met"] != true {
		t.Errorf("first row is %v", list[0])
	}
	if rounds, _ := list[0]["ours_rounds"].([]any); len(rounds) != 3 || rounds[1] != 120.0 {
		t.Errorf("the rounds are %v", list[0]["ours_rounds"])
	}
	if list[1]["ours"] != nil || list[1]["ratio"] != nil || list[1]["met"] != nil {
		t.Errorf("values were made up for what was not measured: %v", list[1])
	}
}

func TestTableTellsEverything(t *testing.T) {
	var out bytes.Buffer
	WriteTable(&out, []Row{
		Compare("warm", "requests/s", Sample{30000}, "nginx", Sample{31000}, AtLeast(1)).Noted("direct %d", 1),
		Missing("cold", "ms", "docker", AtMost(0.6), "no dockerd"),
		Limit("memory", "MiB", Sample{12.3456}, 24),
	})
	for _, want := range []string{"30000", "nginx", "0.968", ">= 1", "MISSED", "not measured", "no dockerd", "direct 1", "12.3", "met"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("table lacks %q:\n%s", want, &out)
		}
	}
}
