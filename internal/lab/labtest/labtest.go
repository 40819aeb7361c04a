// Package labtest has a run whose samples are made up, the same each time, for
// tests of what is made of runs.
package labtest

import (
	"math"
	"math/rand/v2"
	"time"

	"github.com/unifaas/unifaas/internal/lab/record"
	"github.com/unifaas/unifaas/internal/lab/stat"
	"github.com/unifaas/unifaas/internal/sandbox"
)

// Began is when the run began.
var Began = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// sandboxes by how much slower than the first they are.
var sandboxes = []struct {
	name      string
	factor    float64
	isolation sandbox.Isolation
}{
	{"container", 1, sandbox.SharedKernel}, {"gvisor", 8, sandbox.UserSpaceKernel},
	{"docker-runc", 25, sandbox.SharedKernel}, {"made<up>&\"", 60, ""},
}

// Run returns the run. It has samples of each form of figure: distributions,
// curves, stacks, amounts and failures; one series is noisy, one has too few
// samples, one is of failures alone.
func Run() *record.Run {
	m := &maker{random: rand.New(rand.NewPCG(1, 1))}
	host := record.Host{
		CPU: "an imaginary processor", Cores: 2, Memory: 4 << 30, Kernel: "6.0", System: "Test 1", Accelerator: "none", Cgroup: "v2",
		Platform: "test", Began: Began, Sandboxes: map[string]string{}, Isolation: map[string]sandbox.Isolation{},
	}
	for _, s := range sandboxes {
		host.Sandboxes[s.name], host.Isolation[s.name] = "version 1", s.isolation
		for _, language := range []string{"go", "node"} {
			m.sandbox, m.language = s.name, language
			m.subject(s.factor)
		}
	}
	return &record.Run{
		Name: "made-up", Host: host, Command: "unifaas lab run --quick",
		Summaries: stat.Summarize(m.samples, stat.Options{Cores: host.Cores}),
		Missing:   []record.Missing{{Sandbox: "osv", Reason: "not in this build"}},
	}
}

type maker struct {
	random            *rand.Rand
	sandbox, language string
	samples           []record.Sample
}

// add adds n samples around a value.
func (m *maker) add(experiment, parameters, metric, unit string, n int, value float64) {
	for range n {
		m.samples = append(m.samples, record.Sample{
			Key:   record.Key{Experiment: experiment, Sandbox: m.sandbox, Language: m.language, Parameters: parameters, Metric: metric, Unit: unit},
			Value: math.Round(1000*value*(0.9+0.2*m.random.Float64())) / 1000, At: Began, Load: 0.5,
		})
	}
}

func (m *maker) fail(class record.Class) {
	m.samples[len(m.samples)-1].Failure = &record.Failure{Class: class, Text: "made up"}
}

func (m *maker) subject(factor float64) {
	n := 10
	if m.sandbox == "gvisor" && m.language == "node" {
		n = 3
	}
	m.add("cold-start", "", "", "ms", n, 7*factor)
	for _, instances := range []string{"5", "10", "20"} {
		m.add("burst", "instances="+instances, "", "ms", 5, 10*factor*float64(len(instances)))
	}
	m.add("idle-memory", "instances=10", "", "MiB", 1, 30+factor)
	m.add("idle-memory", "instances=10", "available", "MiB", 1, 3+factor/10)
	m.add("idle-memory", "instances=10", "pss", "MiB", 1, 2+factor/10)
	m.add("idle-memory", "instances=10", "pss function", "MiB", 1, 2)
	m.add("idle-memory", "instances=10", "pss monitor", "MiB", 1, factor/10)
	for i, phase := range []string{"create", "start", "ready", "request"} {
		m.add("phases", "", phase, "ms", 7, factor*float64(i+1))
	}
	m.add("image-size", "file=rootfs", "", "bytes", 1, 5e6)
	m.add("stability", "kind=cold-starts", "", "ms", 40, 7*factor)
	if m.sandbox == "docker-runc" {
		m.fail(record.FailedStart)
	}
	if m.language != "go" {
		return
	}
	m.add("cpu-fib", "attempt=first", "", "ms", 7, 30)
	m.add("cpu-fib", "attempt=second", "", "ms", 7, 30)
	for _, connections := range []string{"1", "16", "256"} {
		m.add("network-requests", "connections="+connections, "", "requests/s", 1, 50000/factor)
	}
	if m.sandbox == "gvisor" {
		m.fail(record.Reset)
	}
	if m.sandbox == "container" {
		for i := range m.samples {
			if m.samples[i].Experiment == "cpu-fib" {
				m.samples[i].Load = 9
			}
		}
	}
}
