package chart

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// An Axis says how values are placed.
type Axis struct {
	Label string
	Unit  string
	// Log places values by their logarithm: those that are not above 0 can't be
	// shown and are placed at its beginning.
	Log bool
}

// A scale places values between two coordinates.
type scale struct {
	log       bool
	low, high float64 // values
	from, to  float64 // coordinates
}

// scale returns a scale with all values, from 0 where it is linear.
func (a Axis) scale(values []float64, from, to float64) scale {
	s := scale{log: a.Log, low: math.Inf(1), from: from, to: to}
	for _, v := range values {
		if v > 0 || !a.Log {
			s.low, s.high = min(s.low, v), max(s.high, v)
		}
	}
	if math.IsInf(s.low, 0) {
		s.low = 0 // nothing can be shown
	}
	if !a.Log {
		s.low = min(s.low, 0)
		s.high += (s.high - s.low) * 0.04
		if s.high == s.low {
			s.high++
		}
		return s
	}
	if s.low <= 0 {
		s.low, s.high = 1, max(s.high, 10)
	}
	s.low, s.high = s.low/1.15, s.high*1.15
	return s
}

func (s scale) at(v float64) float64 {
	if s.log {
		v = max(v, s.low)
		return s.from + (s.to-s.from)*math.Log(v/s.low)/math.Log(s.high/s.low)
	}
	return s.from + (s.to-s.from)*(v-s.low)/(s.high-s.low)
}

// ticks returns round values, about as many as asked for.
func (s scale) ticks(about int) []float64 {
	if !s.log {
		return s.linear(about)
	}
	var best []float64
	for _, steps := range [][]float64{{1, 2, 3, 4, 5, 6, 7, 8, 9}, {1, 2, 3, 5, 7}, {1, 2, 5}, {1, 3}, {1}} {
		if best = s.logarithmic(steps); len(best) <= about+2 {
			break
		}
	}
	if len(best) < 2 {
		return s.linear(about) // within less than a decade
	}
	for len(best) > about+2 {
		var fewer []float64
		for i := 0; i < len(best); i += 2 {
			fewer = append(fewer, best[i])
		}
		best = fewer
	}
	return best
}

func (s scale) logarithmic(steps []float64) []float64 {
	var all []float64
	for e := math.Floor(math.Log10(s.low)); e <= math.Log10(s.high); e++ {
		for _, step := range steps {
			if v := step * math.Pow(10, e); v >= s.low && v <= s.high {
				all = append(all, v)
			}
		}
	}
	return all
}

func (s scale) linear(about int) []float64 {
	step := math.Pow(10, math.Floor(math.Log10((s.high-s.low)/float64(about))))
	for _, m := range []float64{1, 2, 5, 10} {
		if (s.high-s.low)/(step*m) <= float64(about) {
			step *= m
			break
		}
	}
	var all []float64
	for i := math.Ceil(s.low / step); i*step <= s.high; i++ {
		all = append(all, i*step)
	}
	return all
}

// Number writes a value with three digits that count, or all those before its
// point, with a prefix from a million on.
func Number(v float64) string {
	switch size := math.Abs(v); {
	case v == 0:
		return "0"
	case size >= 1e9:
		return trim(v/1e9) + " G"
	case size >= 1e6:
		return trim(v/1e6) + " M"
	case size >= 1e4:
		whole := strconv.FormatFloat(v, 'f', 0, 64)
		return whole[:len(whole)-3] + "," + whole[len(whole)-3:]
	case size < 1e-3:
		return strconv.FormatFloat(v, 'g', 3, 64)
	}
	return trim(v)
}

// trim writes a value below a thousand or so with three digits that count.
func trim(v float64) string {
	digits := max(0, 2-int(math.Floor(math.Log10(math.Abs(v)))))
	s := strconv.FormatFloat(v, 'f', digits, 64)
	if strings.Contains(s, ".") {
		s = strings.TrimRight(strings.TrimRight(s, "0"), ".")
	}
	return s
}

// Value writes a value with its unit.
func Value(v float64, unit string) string {
	if unit == "bytes" {
		return Number(v/(1<<20)) + " MiB"
	}
	return strings.TrimSpace(fmt.Sprintf("%s %s", Number(v), unit))
}
