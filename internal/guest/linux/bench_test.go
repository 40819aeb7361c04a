package linux_test

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/unifaas/unifaas/internal/guest/linux"
)

// BenchmarkBoot measures the time from the monitor's execution to the first
// answer, and the processor time that this takes, which a busy machine changes
// less: medians, in milliseconds. Give it -benchtime=5x.
func BenchmarkBoot(b *testing.B) {
	needs(b)
	root := probe(b)
	for _, k := range kernels(b) {
		for _, machine := range kinds {
			for _, r := range []linux.Root{linux.RootInitial, linux.RootEROFS, linux.RootExt4} {
				b.Run(fmt.Sprintf("%s/%s/%s", k.Kind, machine.name, r), func(b *testing.B) {
					var wall, cpu []float64
					for range b.N {
						g := run(b, k, machine, r, revision(root, nil))
						g.await(b, "ready", g.Ready())
						g.get(b, "/say?x", 8080)
						wall = append(wall, float64(time.Since(g.started).Microseconds())/1000)
						cpu = append(cpu, cpuTime(b, g.pid))
						if err := g.Stop(9); err != nil {
							b.Fatal(err)
						}
						g.await(b, "end", g.ended)
					}
					slices.Sort(wall)
					slices.Sort(cpu)
					b.ReportMetric(wall[len(wall)/2], "ms/answer")
					b.ReportMetric(cpu[len(cpu)/2], "cpu-ms/answer")
				})
			}
		}
	}
}

// cpuTime is what a process has used, in milliseconds (proc(5), fields 14 and
// 15 of stat, in hundredths of a second).
func cpuTime(b *testing.B, pid int) float64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		b.Fatal(err)
	}
	_, after, _ := strings.Cut(string(text), ") ")
	fields := strings.Fields(after)
	user, _ := strconv.Atoi(fields[11])
	system, _ := strconv.Atoi(fields[12])
	return float64(user+system) * 10
}
