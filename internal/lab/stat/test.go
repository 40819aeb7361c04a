package stat

import (
	"math"
	"slices"
)

// Rank is the result of the Mann-Whitney U test.
type Rank struct {
	// U counts the pairs in which a's value is larger, ties half.
	U float64
	// P is the two-sided probability of a U at least as far from the middle
	// if both are drawn from one distribution.
	P float64
	// Delta is Cliff's delta, from -1 (all of a are smaller) to 1.
	Delta float64
}

// exactUpTo is the size up to which P is exact, where there are no ties.
const exactUpTo = 25

// MannWhitney compares two series. P is exact for small ones without ties,
// else by the normal approximation, corrected for ties and continuity.
func MannWhitney(a, b []float64) Rank {
	n, m := float64(len(a)), float64(len(b))
	if n == 0 || m == 0 {
		return Rank{P: 1}
	}
	u, ties := count(a, b)
	r := Rank{U: u, Delta: 2*u/(n*m) - 1}
	if ties == 0 && len(a) <= exactUpTo && len(b) <= exactUpTo {
		r.P = exact(len(a), len(b), u)
		return r
	}
	total := n + m
	variance := n * m / 12 * (total + 1 - ties/(total*(total-1)))
	z := math.Abs(u-n*m/2) - 0.5
	if r.P = 1; variance > 0 && z > 0 {
		r.P = math.Erfc(z / math.Sqrt(2*variance))
	}
	return r
}

// count returns U and the sum of t³-t over groups of t equal values.
func count(a, b []float64) (u, ties float64) {
	for _, x := range a {
		for _, y := range b {
			switch {
			case x > y:
				u++
			case x == y:
				u += 0.5
			}
		}
	}
	all := slices.Sorted(slices.Values(slices.Concat(a, b)))
	for i := 0; i < len(all); {
		j := i
		for j < len(all) && all[j] == all[i] {
			j++
		}
		t := float64(j - i)
		ties += t*t*t - t
		i = j
	}
	return u, ties
}

// exact returns the two-sided probability by counting, for each U, the orders
// of n and m values that give it: f(n, m, u) = f(n-1, m, u-m) + f(n, m-1, u)
// (Mann and Whitney, 1947).
func exact(n, m int, u float64) float64 {
	size := n*m + 1
	// ways[j][u] for the current n and j values of b.
	ways := make([][]float64, m+1)
	for j := range ways {
		ways[j] = make([]float64, size)
		ways[j][0] = 1 // of n = 0
	}
	for range n {
		next := make([][]float64, m+1)
		for j := range next {
			next[j] = make([]float64, size)
			for k := range size {
				if k >= j {
					next[j][k] = ways[j][k-j]
				}
				if j > 0 {
					next[j][k] += next[j-1][k]
				}
			}
		}
		ways = next
	}
	total, tail := 0.0, 0.0
	extreme := min(u, float64(n*m)-u)
	for k, w := range ways[m] {
		total += w
		if float64(k) <= extreme {
			tail += w
		}
	}
	return min(1, 2*tail/total)
}

// TooFew is below how many samples nothing is said of a timing.
const TooFew = 7

const (
	// significance is what P must be below for two series to be called
	// different.
	significance = 0.01
	// effect is what Cliff's delta must reach, too: a medium effect (Romano et
	// al., "Appropriate Statistics for Ordinal Level Data", 2006).
	effect = 0.33
)

// A Verdict says how one series is beside another.
type Verdict string

// The verdicts.
const (
	Same    Verdict = "same" // no difference can be told
	Less    Verdict = "less"
	More    Verdict = "more"
	Unknown Verdict = "too few"
)

// Compare tells how b is beside a.
func Compare(a, b []float64) Verdict {
	if len(a) < TooFew || len(b) < TooFew {
		return Unknown
	}
	r := MannWhitney(b, a)
	switch {
	case r.P >= significance || math.Abs(r.Delta) < effect:
		return Same
	case r.Delta > 0:
		return More
	default:
		return Less
	}
}
