// Package stat has the laboratory's statistics: pure functions of samples.
// Nothing is dropped, nothing is assumed to be normal, and the same samples
// give the same numbers each time.
package stat

import (
	"encoding/binary"
	"hash/fnv"
	"math"
	"math/rand/v2"
	"slices"
)

// Quantile returns the q-quantile, 0 to 1, of sorted values: linear between
// order statistics (type 7 of Hyndman and Fan, "Sample Quantiles in
// Statistical Packages", 1996), which NumPy and R take unless told otherwise.
// It is 0 where there are no values.
func Quantile(sorted []float64, q float64) float64 {
	if len(sorted) == 0 {
		return 0
	}
	at := q * float64(len(sorted)-1)
	i := int(at)
	if i+1 >= len(sorted) {
		return sorted[len(sorted)-1]
	}
	return sorted[i] + (at-float64(i))*(sorted[i+1]-sorted[i])
}

// Median returns the median of values in any order.
func Median(values []float64) float64 { return Quantile(slices.Sorted(slices.Values(values)), 0.5) }

// resamples is how often the bootstrap draws.
const resamples = 2000

// confidence of intervals.
const confidence = 0.95

// MedianInterval returns a 95 % confidence interval of the median, by the
// percentile bootstrap.
func MedianInterval(values []float64) (low, high float64) {
	random := source(values)
	return interval(func() float64 { return Median(draw(random, values)) })
}

// RatioInterval returns a 95 % confidence interval of the ratio of two
// medians, of b to a.
func RatioInterval(a, b []float64) (low, high float64) {
	random := source(a, b)
	return interval(func() float64 { return Median(draw(random, b)) / Median(draw(random, a)) })
}

func interval(estimate func() float64) (low, high float64) {
	estimates := make([]float64, resamples)
	for i := range estimates {
		estimates[i] = estimate()
	}
	slices.Sort(estimates)
	return Quantile(estimates, (1-confidence)/2), Quantile(estimates, (1+confidence)/2)
}

// draw returns as many values as there are, drawn with replacement.
func draw(random *rand.Rand, values []float64) []float64 {
	drawn := make([]float64, len(values))
	for i := range drawn {
		drawn[i] = values[random.IntN(len(values))]
	}
	return drawn
}

// source is random numbers that depend on the values alone.
func source(series ...[]float64) *rand.Rand {
	h := fnv.New64a()
	for _, values := range series {
		for _, v := range values {
			_ = binary.Write(h, binary.LittleEndian, math.Float64bits(v)) // a hash takes all
		}
	}
	return rand.New(rand.NewPCG(h.Sum64(), uint64(len(series))))
}

// RateInterval returns a 95 % confidence interval of the rate of which k of n
// are a sample, by Wilson's score ("Probable Inference, the Law of Succession,
// and Statistical Inference", 1927), which holds for k = 0, too. It is 0 to 1
// where n is 0.
func RateInterval(k, n int) (low, high float64) {
	if n == 0 {
		return 0, 1
	}
	const z = 1.959963984540054 // of the normal distribution at 97.5 %
	total, rate := float64(n), float64(k)/float64(n)
	middle := (rate + z*z/(2*total)) / (1 + z*z/total)
	half := z / (1 + z*z/total) * math.Sqrt(rate*(1-rate)/total+z*z/(4*total*total))
	return max(0, middle-half), min(1, middle+half)
}
