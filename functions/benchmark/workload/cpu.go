// Package workload does the work that the benchmark function measures. It
// knows nothing of HTTP.
package workload

import (
	"fmt"
	"math"
	"math/bits"
	"math/cmplx"
	"math/rand/v2"
)

// Fib returns the n-th Fibonacci number modulo 2^64, by n additions.
func Fib(n int64) uint64 {
	var a, b uint64 = 0, 1
	for range n {
		a, b = b, a+b
	}
	return a
}

// FFTOfNoise makes n random points and returns the work of transforming them,
// whose result is the first coefficient's absolute value. n is a power of two.
func FFTOfNoise(n int) (func() any, error) {
	if n < 1 || n&(n-1) != 0 {
		return nil, fmt.Errorf("n=%d is not a power of two", n)
	}
	points := make([]complex128, n)
	for i := range points {
		points[i] = complex(rand.Float64(), rand.Float64())
	}
	return func() any {
		FFT(points)
		return cmplx.Abs(points[0])
	}, nil
}

// FFT replaces x by its discrete Fourier transform, with the iterative
// radix-2 algorithm of Cooley and Tukey. The length of x is a power of two.
func FFT(x []complex128) {
	n := len(x)
	if n < 2 {
		return
	}
	shift := 64 - bits.TrailingZeros(uint(n))
	for i := range x {
		if j := int(bits.Reverse64(uint64(i)) >> shift); i < j {
			x[i], x[j] = x[j], x[i]
		}
	}
	roots := make([]complex128, n/2)
	for k := range roots {
		sin, cos := math.Sincos(-2 * math.Pi * float64(k) / float64(n))
		roots[k] = complex(cos, sin)
	}
	for size := 2; size <= n; size *= 2 {
		half, step := size/2, n/size
		for start := 0; start < n; start += size {
			for k := range half {
				low, high := x[start+k], x[start+k+half]*roots[k*step]
				x[start+k], x[start+k+half] = low+high, low-high
			}
		}
	}
}

// ProductOfNoise makes two random n x n matrices and returns the work of
// multiplying them, whose result is the product's trace.
func ProductOfNoise(n int) func() any {
	a, b := make([]float64, n*n), make([]float64, n*n)
	for i := range a {
		a[i], b[i] = rand.NormFloat64(), rand.NormFloat64()
	}
	return func() any {
		c := Product(a, b, n)
		var trace float64
		for i := range n {
			trace += c[i*n+i]
		}
		return trace
	}
}

// Product returns the product of two n x n matrices, stored row by row. Its
// inner loop runs along rows, which keeps to the processor's caches.
func Product(a, b []float64, n int) []float64 {
	c := make([]float64, n*n)
	for i := range n {
		row := c[i*n : (i+1)*n]
		for k := range n {
			factor := a[i*n+k]
			for j, v := range b[k*n : (k+1)*n] {
				row[j] += factor * v
			}
		}
	}
	return c
}
