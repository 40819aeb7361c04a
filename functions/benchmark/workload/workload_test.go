package workload_test

import (
	"bytes"
	"math"
	"math/cmplx"
	"os"
	"path/filepath"
	"testing"

	"github.com/unifaas/unifaas/functions/benchmark/workload"
	"pgregory.net/rapid"
)

func TestFib(t *testing.T) {
	for n, want := range map[int64]uint64{1: 1, 2: 1, 3: 2, 10: 55, 93: 12200160415121876738, 94: 1293530146158671551} {
		if got := workload.Fib(n); got != want {
			t.Errorf("Fib(%d): got %d, want %d", n, got, want)
		}
	}
}

// naiveDFT is the definition of the transform.
func naiveDFT(x []complex128) []complex128 {
	out := make([]complex128, len(x))
	for k := range out {
		for j, v := range x {
			out[k] += v * cmplx.Exp(complex(0, -2*math.Pi*float64(j*k)/float64(len(x))))
		}
	}
	return out
}

func TestFFTIsTheTransform(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := 1 << rapid.IntRange(0, 7).Draw(t, "log n")
		number := rapid.Float64Range(-1000, 1000)
		x := make([]complex128, n)
		for i := range x {
			x[i] = complex(number.Draw(t, "re"), number.Draw(t, "im"))
		}
		want := naiveDFT(x)
		workload.FFT(x)
		for k := range x {
			if d := cmplx.Abs(x[k] - want[k]); d > 1e-6 {
				t.Fatalf("n=%d: coefficient %d is %v, want %v", n, k, x[k], want[k])
			}
		}
	})
}

func TestFFTOfNoiseWantsAPowerOfTwo(t *testing.T) {
	for _, n := range []int{-1, 0, 3, 12, 1000} {
		if _, err := workload.FFTOfNoise(n); err == nil {
			t.Errorf("n=%d was taken", n)
		}
	}
	work, err := workload.FFTOfNoise(1024)
	if err != nil {
		t.Fatal(err)
	}
	if sum := work().(float64); sum < 512 || sum > 1024 { // of 1024 points with mean (1+i)/2
		t.Errorf("the first coefficient is %v", sum)
	}
}

func TestProduct(t *testing.T) {
	got := workload.Product([]float64{1, 2, 3, 4}, []float64{5, 6, 7, 8}, 2)
	for i, want := range []float64{19, 22, 43, 50} {
		if got[i] != want {
			t.Errorf("element %d: got %v, want %v", i, got[i], want)
		}
	}
}

func TestProductWithTheUnitMatrix(t *testing.T) {
	const n = 17
	a, unit := make([]float64, n*n), make([]float64, n*n)
	for i := range a {
		a[i] = float64(i*i%101) - 50
	}
	for i := range n {
		unit[i*n+i] = 1
	}
	for i, got := range workload.Product(a, unit, n) {
		if got != a[i] {
			t.Fatalf("element %d: got %v, want %v", i, got, a[i])
		}
	}
}

func TestAlloc(t *testing.T) {
	if got := workload.Alloc(3); got != 3<<20 {
		t.Errorf("got %d bytes, want %d", got, 3<<20)
	}
}

func archive(t *testing.T, files int, size int64) []byte {
	t.Helper()
	var buf bytes.Buffer
	if err := workload.WriteArchive(&buf, files, size); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func TestArchive(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	data := archive(t, 3, 100_000)
	if !bytes.Equal(data, archive(t, 3, 100_000)) {
		t.Error("two archives of the same numbers differ")
	}
	path := filepath.Join(t.TempDir(), "archive.zip")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	if n, err := workload.Read(path); err != nil || n != len(data) {
		t.Errorf("Read: got %d, %v; want %d", n, err, len(data))
	}
	if n, err := workload.Unzip(path); err != nil || n != 300_000 {
		t.Errorf("Unzip: got %d, %v; want 300000", n, err)
	}
	if left, err := os.ReadDir(os.TempDir()); err != nil || len(left) > 0 {
		t.Errorf("Unzip left %v behind, %v", left, err)
	}
}

func TestUnzipOfWhatIsNoArchive(t *testing.T) {
	path := filepath.Join(t.TempDir(), "archive.zip")
	if err := os.WriteFile(path, []byte("no archive"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := workload.Unzip(path); err == nil {
		t.Error("a text file was unpacked")
	}
}
