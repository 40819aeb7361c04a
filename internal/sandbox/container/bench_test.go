package container_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/unifaas/unifaas/internal/sandbox"
)

// BenchmarkStart measures a start until the first response of a function that
// serves HTTP, and where the time goes. UNIFAAS_BENCH_ROOTFS and
// UNIFAAS_BENCH_PROGRAM choose another function than the suite's guest.
func BenchmarkStart(b *testing.B) {
	r := newBenchRig(b)
	art, err := r.driver.Prepare(r.ctx(), r.rev)
	if err != nil {
		b.Fatal(err)
	}
	phases := map[string][]time.Duration{}
	for b.Loop() {
		begin := time.Now()
		last := begin
		inst, _, err := r.startFrom(art, "one", func(s *sandbox.Spec) {
			s.Trace = func(phase string, at time.Time) { phases[phase] = append(phases[phase], at.Sub(last)); last = at }
		})
		if err != nil {
			b.Fatal(err)
		}
		phases["ready"] = append(phases["ready"], time.Since(last))
		if err := firstResponse(r.ctx(), inst); err != nil {
			b.Fatal(err)
		}
		phases["all"] = append(phases["all"], time.Since(begin))
		b.StopTimer()
		if err := inst.Stop(r.ctx()); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
	for phase, took := range phases {
		slices.Sort(took)
		b.ReportMetric(took[len(took)/2].Seconds()*1e3, phase+"-p50-ms")
	}
}

// newBenchRig chooses the function to measure.
func newBenchRig(b *testing.B) *rig {
	r := newRig(b, "bench")
	if rootfs := os.Getenv("UNIFAAS_BENCH_ROOTFS"); rootfs != "" {
		r.rev.Image.Rootfs, r.rev.Function.Command = rootfs, []string{os.Getenv("UNIFAAS_BENCH_PROGRAM")}
	}
	return r
}

// BenchmarkMemory measures the private memory of an idle instance, all of its
// processes, after a thousand requests on one connection.
func BenchmarkMemory(b *testing.B) {
	r := newBenchRig(b)
	for b.Loop() {
		inst, rec, err := r.start("one")
		if err != nil {
			b.Fatal(err)
		}
		client := &http.Client{Transport: &http.Transport{
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return inst.Dial(ctx) },
		}}
		for range 1000 {
			resp, err := client.Get("http://guest/")
			if err != nil {
				b.Fatal(err)
			}
			if _, err := io.Copy(io.Discard, resp.Body); err != nil {
				b.Fatal(err)
			}
			_ = resp.Body.Close()
		}
		client.CloseIdleConnections()
		total := 0
		for _, pid := range processesOf(b, rec) {
			total += private(b, strconv.Itoa(pid), "Anonymous:")
		}
		b.ReportMetric(float64(total>>10), "private-KiB")
		if err := inst.Stop(r.ctx()); err != nil {
			b.Fatal(err)
		}
	}
}

func firstResponse(ctx context.Context, inst sandbox.Instance) error {
	conn, err := inst.Dial(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	if _, err := fmt.Fprint(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		return err
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return err
	}
	return resp.Body.Close()
}
