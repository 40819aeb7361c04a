package stat_test

import (
	"math"
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid"

	"github.com/unifaas/unifaas/internal/lab/record"
	"github.com/unifaas/unifaas/internal/lab/stat"
)

func near(a, b, tolerance float64) bool { return math.Abs(a-b) <= tolerance }

func TestQuantile(t *testing.T) {
	for _, c := range []struct {
		values  []float64
		q, want float64
	}{
		{nil, 0.5, 0},
		{[]float64{7}, 0.95, 7},
		{[]float64{1, 2, 3, 4}, 0.5, 2.5},
		{[]float64{1, 2, 3, 4}, 0.25, 1.75}, // R: quantile(1:4, .25)
		{[]float64{1, 2, 3, 4}, 1, 4},
		{[]float64{0, 10, 20}, 0.95, 19},
	} {
		if got := stat.Quantile(c.values, c.q); !near(got, c.want, 1e-12) {
			t.Errorf("%v of %v: got %v, want %v", c.q, c.values, got, c.want)
		}
	}
}

// TestMannWhitneyGolden: the first is SciPy's documented example.
func TestMannWhitneyGolden(t *testing.T) {
	for _, c := range []struct {
		a, b []float64
		u, p float64
	}{
		{[]float64{19, 22, 16, 29, 24}, []float64{20, 11, 17, 12}, 17, 0.1111111},
		{[]float64{1, 2, 3}, []float64{4, 5, 6}, 0, 0.1}, // 2 of the 20 orders
		{[]float64{1, 2, 3, 4, 5, 6, 7}, []float64{8, 9, 10, 11, 12, 13, 14}, 0, 2.0 / 3432},
		{[]float64{5, 5, 5}, []float64{5, 5}, 3, 1},
	} {
		r := stat.MannWhitney(c.a, c.b)
		if r.U != c.u || !near(r.P, c.p, 1e-6) {
			t.Errorf("%v, %v: got U %v, p %v; want %v, %v", c.a, c.b, r.U, r.P, c.u, c.p)
		}
	}
}

// TestExactIsEnumeration counts all orders by hand.
func TestExactIsEnumeration(t *testing.T) {
	const n, m = 4, 5
	values := []float64{1, 2, 3, 4, 5, 6, 7, 8, 9}
	split := func(bits int) (a, b []float64) {
		for i, v := range values {
			if bits>>i&1 == 1 {
				a = append(a, v)
			} else {
				b = append(b, v)
			}
		}
		return a, b
	}
	var us []float64
	for bits := range 1 << len(values) {
		if a, b := split(bits); len(a) == n {
			us = append(us, stat.MannWhitney(a, b).U)
		}
	}
	for bits := range 1 << len(values) {
		a, b := split(bits)
		if len(a) != n {
			continue
		}
		r := stat.MannWhitney(a, b)
		extreme := 0
		for _, u := range us {
			if min(u, n*m-u) <= min(r.U, n*m-r.U) {
				extreme++
			}
		}
		if want := min(1, float64(extreme)/float64(len(us))); !near(r.P, want, 1e-9) {
			t.Fatalf("%v, %v: got p %v, want %v", a, b, r.P, want)
		}
	}
}

func TestMannWhitneyIsSymmetric(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		values := rapid.SliceOfN(rapid.Float64Range(-5, 5), 1, 40)
		a, b := values.Draw(t, "a"), values.Draw(t, "b")
		r, s := stat.MannWhitney(a, b), stat.MannWhitney(b, a)
		if !near(r.P, s.P, 1e-9) || !near(r.Delta, -s.Delta, 1e-9) || !near(r.U+s.U, float64(len(a)*len(b)), 1e-6) {
			t.Errorf("got %+v and %+v", r, s)
		}
		if r.P < 0 || r.P > 1 {
			t.Errorf("p is %v", r.P)
		}
	})
}

// TestIntervalHoldsTheMedian draws from a known distribution: of a hundred
// intervals about 95 hold its median.
func TestIntervalHoldsTheMedian(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	holds := 0
	for range 100 {
		values := make([]float64, 30)
		for i := range values {
			values[i] = math.Exp(random.NormFloat64()) // median 1
		}
		low, high := stat.MedianInterval(values)
		if again, _ := stat.MedianInterval(values); again != low {
			t.Fatal("the same values give another interval")
		}
		if low <= 1 && 1 <= high {
			holds++
		}
	}
	if holds < 87 || holds > 100 {
		t.Errorf("%d of 100 intervals hold the median", holds)
	}
}

func TestRatioInterval(t *testing.T) {
	a, b := []float64{9, 10, 10, 10, 10, 11, 10}, []float64{19, 20, 20, 20, 20, 21, 20}
	low, high := stat.RatioInterval(a, b)
	if low > 2 || high < 2 || low < 1.7 || high > 2.4 {
		t.Errorf("got %v to %v, want 2 within", low, high)
	}
}

func TestCompare(t *testing.T) {
	series := func(from float64) []float64 {
		var v []float64
		for i := range 10 {
			v = append(v, from+float64(i))
		}
		return v
	}
	for _, c := range []struct {
		a, b []float64
		want stat.Verdict
	}{
		{series(0), series(100), stat.More},
		{series(100), series(0), stat.Less},
		{series(0), series(0.5), stat.Same},
		{series(0), series(100)[:6], stat.Unknown},
	} {
		if got := stat.Compare(c.a, c.b); got != c.want {
			t.Errorf("%v beside %v: got %q, want %q", c.b, c.a, got, c.want)
		}
	}
}

func TestSummarize(t *testing.T) {
	key := record.Key{Experiment: "cold-start", Sandbox: "x", Unit: "ms"}
	other := record.Key{Experiment: "image-size", Sandbox: "x", Unit: "bytes"}
	var samples []record.Sample
	for i := range 20 {
		v := 10 + float64(i%3)
		if i >= 10 {
			v *= 2
		}
		samples = append(samples, record.Sample{Key: key, Value: v, Load: float64(i), Step: string(rune('a' + i))})
	}
	samples = append(samples, record.Sample{Key: key, Failure: &record.Failure{Class: record.Timeout}}, record.Sample{Key: other, Value: 5})
	got := stat.Summarize(samples, stat.Options{Cores: 2})
	if len(got) != 2 || got[0].Key != key || got[1].Key != other {
		t.Fatalf("got %+v", got)
	}
	s := got[0]
	if s.N != 20 || s.Failures != 1 || s.ByClass[record.Timeout] != 1 || s.Min != 10 || s.Max != 24 || len(s.Values) != 20 {
		t.Errorf("got %+v", s)
	}
	if len(s.Warnings) != 2 { // load, drift
		t.Errorf("warnings: got %q", s.Warnings)
	}
	if b := got[1]; b.P50 != 5 || b.Low != 5 || b.High != 5 || len(b.Warnings) != 0 {
		t.Errorf("one number: got %+v", b)
	}
	few := stat.Summarize(samples[:3], stat.Options{})
	if len(few[0].Warnings) != 1 {
		t.Errorf("three samples: got warnings %q", few[0].Warnings)
	}
	failed := stat.Summarize(samples[20:21], stat.Options{})
	if failed[0].N != 0 || failed[0].Failures != 1 || failed[0].P50 != 0 {
		t.Errorf("one failure: got %+v", failed[0])
	}
}

// TestRateInterval compares with what R's binom::binom.wilson gives.
func TestRateInterval(t *testing.T) {
	for _, c := range []struct {
		k, n      int
		low, high float64
	}{{0, 10, 0, 0.27753}, {1, 10, 0.01788, 0.40415}, {5, 10, 0.23659, 0.76341}, {2, 100, 0.00550, 0.07001}, {0, 0, 0, 1}} {
		low, high := stat.RateInterval(c.k, c.n)
		if math.Abs(low-c.low) > 1e-4 || math.Abs(high-c.high) > 1e-4 {
			t.Errorf("%d of %d: %.5f to %.5f, want %.5f to %.5f", c.k, c.n, low, high, c.low, c.high)
		}
	}
}
