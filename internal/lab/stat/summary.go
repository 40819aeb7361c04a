package stat

import (
	"fmt"
	"slices"

	"github.com/unifaas/unifaas/internal/lab/record"
)

// Options of a summary.
type Options struct {
	// Cores is how many processors the machine has: a load average beyond them
	// makes a series noisy. 0 is unknown.
	Cores int
}

// Summarize returns a summary of each series, in the order of their first
// samples.
func Summarize(samples []record.Sample, o Options) []record.Summary {
	series := map[record.Key][]record.Sample{}
	var keys []record.Key
	for _, s := range samples {
		if series[s.Key] == nil {
			keys = append(keys, s.Key)
		}
		series[s.Key] = append(series[s.Key], s)
	}
	summaries := make([]record.Summary, 0, len(keys))
	for _, k := range keys {
		summaries = append(summaries, summarize(k, series[k], o))
	}
	return summaries
}

func summarize(k record.Key, samples []record.Sample, o Options) record.Summary {
	s := record.Summary{Key: k}
	for _, one := range samples {
		if one.Failure == nil {
			s.Values = append(s.Values, one.Value)
			continue
		}
		if s.ByClass == nil {
			s.ByClass = map[record.Class]int{}
		}
		s.ByClass[one.Failure.Class]++
		s.Failures++
	}
	if s.N = len(s.Values); s.N > 0 {
		sorted := slices.Sorted(slices.Values(s.Values))
		s.Min, s.Max = sorted[0], sorted[len(sorted)-1]
		s.P25, s.P50, s.P75, s.P95 = Quantile(sorted, 0.25), Quantile(sorted, 0.5), Quantile(sorted, 0.75), Quantile(sorted, 0.95)
		s.Low, s.High = MedianInterval(s.Values)
	}
	s.Warnings = warnings(s, samples, o)
	return s
}

// timings are the units of what varies by chance.
var timings = []string{"ms", "s", "requests/s", "ms/s", "1/s", "instructions/s"}

func warnings(s record.Summary, samples []record.Sample, o Options) []string {
	var all []string
	if slices.Contains(timings, s.Unit) && s.N < TooFew {
		all = append(all, fmt.Sprintf("too few: %d samples", s.N))
	}
	if o.Cores > 0 {
		most := slices.MaxFunc(samples, func(a, b record.Sample) int { return compare(a.Load, b.Load) })
		// The laboratory itself keeps one processor busy and a function another.
		if limit := float64(o.Cores) + 2; most.Load > limit {
			all = append(all, fmt.Sprintf("noisy: the load average was up to %.1f on %d processors", most.Load, o.Cores))
		}
	}
	for _, one := range samples {
		if one.Doubt != "" {
			all = append(all, "noisy: "+one.Doubt)
			break // one is enough to be careful
		}
	}
	if steps(samples) >= 2*TooFew && drifts(s.Values) {
		all = append(all, "noisy: the second half of the samples is not like the first")
	}
	return all
}

// steps counts the steps in which samples were taken: those of one step, a
// burst, have no order in time.
func steps(samples []record.Sample) int {
	names := map[string]bool{}
	for _, s := range samples {
		names[s.Step] = true
	}
	return len(names)
}

func compare(a, b float64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// drifts reports whether a series changes as it is taken, by a fifth at least.
func drifts(values []float64) bool {
	half := len(values) / 2
	first, second := values[:half], values[half:]
	if v := Compare(first, second); v == Same || v == Unknown {
		return false
	}
	a, b := Median(first), Median(second)
	return max(a, b) > 1.2*min(a, b)
}
