package pool

import "sync"

// A footprint is what one more instance of a revision is expected to take, in
// bytes. The first measurement replaces the estimate; from then on it rises
// at once to the largest measured and falls slowly, since admitting too many
// costs more than admitting too few.
type footprint struct {
	mu       sync.Mutex
	bytes    int64
	measured bool
}

func (f *footprint) estimate() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.bytes
}

// measurement returns the estimate if it rests on a measurement, else 0.
func (f *footprint) measurement() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.measured {
		return 0
	}
	return f.bytes
}

// set is for before anything has been measured.
func (f *footprint) set(bytes int64, measured bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.bytes, f.measured = bytes, measured
}

func (f *footprint) observe(bytes int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.measured && bytes < f.bytes {
		bytes = f.bytes - (f.bytes-bytes)/8
	}
	f.bytes, f.measured = bytes, true
}
