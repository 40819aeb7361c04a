package load

import (
	"math/bits"
	"time"
)

// A histogram counts durations in buckets that are 1/32 wide, relative to
// their value: flat memory however long the load lasts.
type histogram struct {
	counts [64 * steps]int
	total  int
}

const (
	stepBits = 5
	steps    = 1 << stepBits
)

// bucket of a value: below steps each has its own, above, each power of two
// is divided into steps.
func bucket(us uint64) int {
	if us < steps {
		return int(us)
	}
	exponent := bits.Len64(us) - stepBits - 1
	return (exponent+1)*steps + int(us>>exponent) - steps
}

// floor is the smallest value of a bucket, in microseconds.
func floor(bucket int) uint64 {
	if bucket < steps {
		return uint64(bucket)
	}
	exponent := bucket/steps - 1
	return uint64(bucket%steps+steps) << exponent
}

func (h *histogram) add(d time.Duration) {
	h.counts[bucket(uint64(max(0, d.Microseconds())))]++
	h.total++
}

func (h *histogram) quantile(q float64) time.Duration {
	rank := int(q * float64(h.total))
	for b, n := range h.counts {
		if rank -= n; rank < 0 {
			return time.Duration(floor(b)) * time.Microsecond
		}
	}
	return 0
}
