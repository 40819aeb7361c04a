package sandboxtest

import (
	"net/http"
	"strings"
	"syscall"
	"time"

	"github.com/unifaas/unifaas/internal/faas"
	"github.com/unifaas/unifaas/internal/sandbox"
	"github.com/unifaas/unifaas/internal/sandbox/sandboxtest/guest"
)

var limitCases = []testCase{
	{name: "BoundedDisk", needs: []Promise{BoundedDisk}, run: boundedDisk},
	{name: "MemoryLimit", needs: []Promise{MemoryLimit}, run: memoryLimit},
	{name: "MemoryWithinLimit", needs: []Promise{Program}, run: memoryWithinLimit},
	{name: "PidsLimit", needs: []Promise{PidsLimit}, run: pidsLimit},
	{name: "CPULimit", needs: []Promise{CPULimit}, run: cpuLimit},
}

// boundedDisk fills /tmp far over the limit, in one file and in another.
func boundedDisk(f *fixture) {
	const limit = 16 * mib
	r := f.start(func(rev *faas.Revision) {
		rev.Function.Limits.Disk = limit
		rev.Function.Limits.Memory = 256 * mib
	})
	before := free(f, f.base)
	first := r.write("/tmp/one", 4*limit)
	second := r.write("/tmp/two", 4*limit)
	if first.Error == "" || second.Error == "" {
		f.Fatalf("the function wrote %d and %d bytes over its limit of %d", first.Bytes, second.Bytes, limit)
	}
	if !strings.Contains(first.Error, syscall.ENOSPC.Error()) {
		f.Errorf("over the limit: got %q, want ENOSPC", first.Error)
	}
	if total := first.Bytes + second.Bytes; total < limit/2 || total > limit+limit/4 {
		f.Errorf("%d bytes fit, want about %d", total, limit)
	}
	if used := before - free(f, f.base); used > 4*limit {
		f.Errorf("the host's disk lost %d bytes to an instance with %d", used, limit)
	}
	r.wantHello()
	if got := r.write("/dev/shm/file", 4*limit); got.Error == "" {
		f.Errorf("the function wrote %d bytes to /dev/shm, its limit is %d", got.Bytes, limit)
	}
}

func free(f *fixture, path string) int64 {
	f.Helper()
	var fs syscall.Statfs_t
	if err := syscall.Statfs(path, &fs); err != nil {
		f.Fatal(err)
	}
	return int64(fs.Bfree) * fs.Bsize
}

func memoryLimit(f *fixture) {
	r := f.start(func(rev *faas.Revision) { rev.Function.Limits.Memory = 96 * mib })
	if answer, err := r.request(f.ctx(), http.MethodGet, query("/alloc", "mib", 512), nil); err == nil {
		f.Fatalf("512 MiB were allocated in 96 MiB: %s", answer)
	}
	exit := r.wantExit()
	if f.gives(OutOfMemory) && (!exit.OutOfMemory || !strings.Contains(exit.String(), "out of memory")) {
		f.Errorf("Wait: got %+v, want it to be out of memory", exit)
	}
}

// memoryWithinLimit checks that the limit can be used for the most part.
func memoryWithinLimit(f *fixture) {
	r := f.start(func(rev *faas.Revision) { rev.Function.Limits.Memory = 192 * mib })
	r.get(query("/alloc", "mib", 96))
	r.wantHello()
	wantAlive(r)
}

func pidsLimit(f *fixture) {
	const limit = 32
	r := f.start(func(rev *faas.Revision) {
		rev.Function.Limits.Pids = limit
		rev.Function.Limits.Memory = 512 * mib
	})
	other := f.start()
	answer, err := r.request(f.ctx(), http.MethodGet, query("/fork", "n", 4*limit), nil)
	if err == nil {
		wantBounded(f, answer, limit)
	} else {
		r.wantThreadless(err)
	}
	other.wantHello()
	f.start().wantHello()
}

// wantThreadless checks that a function which did not answer a request for
// processes has died of the limit itself: its runtime could not make a thread.
// That is contained, too; any other end is not the limit's work.
func (r *running) wantThreadless(broken error) {
	r.f.Helper()
	if exit := r.wantExit(); exit.OutOfMemory || exit.Signal != 0 {
		r.f.Errorf("the function broke at its limit of processes: %v; it ended (%v), not for want of a thread\noutput: %s", broken, exit, r.out.text())
		return
	}
	r.out.want(r.f, "failed to create new OS thread") // of Go's runtime
}

// wantBounded checks how many processes a function says it could start.
func wantBounded(f *fixture, answer string, limit int) {
	f.Helper()
	var forked guest.Forked
	decode(f, answer, &forked)
	if forked.Started < limit/4 {
		f.Errorf("only %d processes were started with a limit of %d (%s)", forked.Started, limit, forked.Error)
	}
	if forked.Started >= 2*limit || forked.Error == "" {
		f.Errorf("%d processes were started with a limit of %d (%s)", forked.Started, limit, forked.Error)
	}
}

// cpuLimit burns on two processors with a quarter of one allowed. It measures
// from outside where it can: a function's own clocks may go on while its quota
// makes it wait. A busy machine gives less, never more, so that only the upper
// bound is checked.
func cpuLimit(f *fixture) {
	const share = 0.25
	r := f.start(func(rev *faas.Revision) { rev.Function.Limits.CPUs = share })
	var told struct{ CPU time.Duration }
	before, outside := r.cpu()
	begin := time.Now()
	r.getJSON(query("/burn", "ms", 2000, "procs", 2), &told)
	took, used := time.Since(begin), told.CPU
	if outside {
		after, _ := r.cpu()
		used = after - before
	}
	if got := used.Seconds() / took.Seconds(); got > share*1.6 {
		f.Errorf("%v of processor time in %v, %.2f processors; the limit is %v", used, took, got, share)
	}
	if used < 50*time.Millisecond {
		f.Errorf("only %v of processor time in %v", used, took)
	}
}

// cpu returns the processor time that the instance has used, as the host sees
// it; ok is false where it does not.
func (r *running) cpu() (used time.Duration, ok bool) {
	r.f.Helper()
	s, ok := r.Instance.(sandbox.Statser)
	if !ok {
		return 0, false
	}
	stats, err := s.Stats(r.f.ctx())
	if err != nil {
		r.f.Fatalf("Stats: %v", err)
	}
	return stats.CPU, stats.CPU > 0
}
