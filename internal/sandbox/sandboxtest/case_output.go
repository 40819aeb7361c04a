package sandboxtest

import (
	"bytes"
	"context"
	"io"
	"os"
	"time"

	"github.com/unifaas/unifaas/internal/sandbox"
	"github.com/unifaas/unifaas/internal/sandbox/sandboxtest/guest"
)

var outputCases = []testCase{
	{name: "OutputHasBothStreams", run: outputHasBothStreams},
	{name: "OutputIsComplete", needs: []Promise{BulkOutput}, run: outputIsComplete},
	{name: "OutputStaysOpen", run: outputStaysOpen},
	{name: "OutputWithSlowReader", needs: []Promise{BulkOutput}, run: outputWithSlowReader},
	{name: "Stats", run: stats},
}

func outputHasBothStreams(f *fixture) {
	r := f.start()
	r.get(query("/say", "text", "to standard output"))
	r.get(query("/say", "text", "to standard error", "err", 1))
	end := "\n"
	if !f.gives(BulkOutput) {
		end = "" // a serial port is a terminal, whose lines may end otherwise
	}
	r.out.want(f, "to standard output"+end)
	r.out.want(f, "to standard error"+end)
}

// launchUnread is launch with a log that only the test reads.
func (f *fixture) launchUnread() (*running, *os.File) {
	f.Helper()
	rev := f.revision()
	artifact := f.prepare(rev)
	spec, record := f.newSpec(rev)
	log := f.pipe(&spec)
	inst, err := f.driver.Start(f.ctx(), artifact, spec)
	if err != nil {
		f.Fatalf("Start: %v", err)
	}
	f.Cleanup(func() { f.stop(inst) })
	if err := inst.Ready(f.ctx()); err != nil {
		f.Fatalf("Ready: %v", err)
	}
	return f.running(inst, spec, record, &collector{}), log
}

func outputIsComplete(f *fixture) {
	const n = 8 * mib
	r, log := f.launchUnread()
	r.get(query("/print", "bytes", n))
	if err := log.SetReadDeadline(time.Now().Add(f.suite.harness.Timeout)); err != nil {
		f.Fatal(err)
	}
	var got bytes.Buffer
	if _, err := io.CopyN(&got, log, n); err != nil {
		f.Fatalf("after %d of %d bytes of output: %v", got.Len(), n, err)
	}
	want, err := io.ReadAll(guest.Pattern(1, n))
	if err != nil {
		f.Fatal(err)
	}
	if !bytes.Equal(got.Bytes(), want) {
		f.Error("the output is not what the function wrote")
	}
}

// outputStaysOpen checks that the driver leaves the caller's end alone.
func outputStaysOpen(f *fixture) {
	r := f.start()
	f.stop(r)
	if _, err := io.WriteString(r.spec.Output, "from the platform\n"); err != nil {
		f.Errorf("the driver closed Spec.Output: %v", err)
	}
	r.out.want(f, "from the platform")
}

// outputWithSlowReader lets the function write 1 GiB to an output that nobody
// reads to speak of: it must be held back or cut short, never be buffered.
func outputWithSlowReader(f *fixture) {
	r, log := f.launchUnread()
	r.get(query("/print", "bytes", 1<<30))
	var taken int64
	buf := make([]byte, 16<<10)
	for end := time.Now().Add(time.Second); time.Now().Before(end); {
		if err := log.SetReadDeadline(time.Now().Add(f.suite.harness.Timeout)); err != nil {
			f.Fatal(err)
		}
		n, err := log.Read(buf)
		if err != nil {
			f.Fatalf("read the output: %v", err)
		}
		taken += int64(n)
		time.Sleep(5 * time.Millisecond) // this is the slow reader
	}
	var printed struct{ Bytes int64 }
	r.getJSON("/printed", &printed) // the function still answers
	if ahead := printed.Bytes - taken; ahead > 4*mib {
		f.Errorf("%d bytes of output are buffered on the way", ahead)
	}
	begin := time.Now()
	f.stop(r)
	if took := time.Since(begin); took > f.suite.harness.Timeout/2 {
		f.Errorf("Stop took %v while the function was blocked on its output", took)
	}
}

// stats checks what an instance with the power to measure itself says.
func stats(f *fixture) {
	r := f.start()
	s, ok := r.Instance.(sandbox.Statser)
	if !ok {
		f.Skip("its instances can't measure themselves")
	}
	measure := func() sandbox.Stats {
		got, err := s.Stats(f.ctx())
		if err != nil {
			f.Fatalf("Stats: %v", err)
		}
		return got
	}
	before := measure()
	if before.Pids < 1 || before.Memory < 0 || before.CPU < 0 {
		f.Errorf("Stats: got %+v", before)
	}
	if !f.gives(Program) {
		return
	}
	const alloc = 32
	r.get(query("/alloc", "mib", alloc))
	r.get(query("/burn", "ms", 300, "procs", 1))
	after := measure()
	if grown := after.Memory - before.Memory; before.Memory <= 0 || grown < alloc*mib/2 || grown > 3*alloc*mib {
		f.Errorf("Stats: memory %d, and %d after %d MiB were allocated", before.Memory, after.Memory, alloc)
	}
	if used := after.CPU - before.CPU; used < 50*time.Millisecond || used > 30*time.Second {
		f.Errorf("Stats: 300 ms of burning count as %v of processor time", used)
	}
	f.stop(r)
	ctx, cancel := context.WithTimeout(f.Context(), f.suite.harness.Timeout/2)
	defer cancel()
	if got, err := s.Stats(ctx); err == nil {
		f.Errorf("Stats of a stopped instance: got %+v, want an error", got)
	}
}
