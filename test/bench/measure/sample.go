package measure

import (
	"math"
	"slices"
)

// A Sample is a set of repeated measurements of one quantity, in the order in
// which they were made.
type Sample []float64

// Median returns the middle value, NaN for an empty sample.
func (s Sample) Median() float64 { return s.Quantile(0.5) }

// Quantile returns the q-quantile, 0 <= q <= 1, interpolated linearly between
// the two nearest values (type 7 of Hyndman and Fan, 1996). It is NaN for an
// empty sample.
func (s Sample) Quantile(q float64) float64 {
	if len(s) == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(s))
	at := q * float64(len(sorted)-1)
	low := int(math.Floor(at))
	high := min(low+1, len(sorted)-1)
	return sorted[low] + (at-float64(low))*(sorted[high]-sorted[low])
}

// Max returns the largest value, NaN for an empty sample.
func (s Sample) Max() float64 { return s.Quantile(1) }

// MAD returns the median absolute deviation from the median, unscaled.
func (s Sample) MAD() float64 {
	middle := s.Median()
	deviations := make(Sample, len(s))
	for i, v := range s {
		deviations[i] = math.Abs(v - middle)
	}
	return deviations.Median()
}

// Ratios divides s by peer, pair by pair: measurements of one round were made
// under the same conditions, so their ratio is steadier than either. The
// longer sample's rest is left out, and so are pairs with a peer of 0.
func (s Sample) Ratios(peer Sample) Sample {
	var ratios Sample
	for i := range min(len(s), len(peer)) {
		if peer[i] != 0 {
			ratios = append(ratios, s[i]/peer[i])
		}
	}
	return ratios
}

// Trend is a straight line through a series of values at equal distances.
type Trend struct {
	First, Last float64 // the line at the first and at the last value
}

// Growth returns the line's last value over its first.
func (t Trend) Growth() float64 { return t.Last / t.First }

// Trend fits the line of Theil and Sen: the slope is the median of the slopes
// between all pairs of values, so that single outliers, such as the peak
// before a garbage collection, don't tilt it.
func (s Sample) Trend() Trend {
	var slopes Sample
	for i := range s {
		for j := i + 1; j < len(s); j++ {
			slopes = append(slopes, (s[j]-s[i])/float64(j-i))
		}
	}
	if len(slopes) == 0 {
		return Trend{s.Median(), s.Median()}
	}
	slope := slopes.Median()
	half := slope * float64(len(s)-1) / 2
	return Trend{s.Median() - half, s.Median() + half}
}

func (s Sample) numbers() []Number {
	var n []Number
	for _, v := range s {
		n = append(n, Number(v))
	}
	return n
}
