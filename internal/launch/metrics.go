package launch

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/unifaas/unifaas/internal/faas"
	"github.com/unifaas/unifaas/internal/sandbox"
)

type metrics struct {
	phases *prometheus.HistogramVec
}

func newMetrics(reg prometheus.Registerer) *metrics {
	m := &metrics{
		phases: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "unifaas_cold_start_phase_seconds",
			Help:    "Time that a phase of a start that succeeded took, by sandbox and phase; the phase \"total\" is the whole.",
			Buckets: prometheus.ExponentialBuckets(0.0005, 2, 16),
		}, []string{"sandbox", "phase"}),
	}
	reg.MustRegister(m.phases)
	return m
}

// trace collects the phases of one start; it is observed only when the start
// succeeds, so that failures do not distort the times.
type trace struct {
	metrics *metrics
	sandbox string
	begin   time.Time
	last    time.Time
	marks   []sandbox.Phase
}

func (m *metrics) trace(rev *faas.Revision) *trace {
	now := time.Now()
	return &trace{metrics: m, sandbox: rev.Function.Sandbox, begin: now, last: now}
}

// mark ends the phase name at the given time.
func (t *trace) mark(name string, at time.Time) {
	t.marks = append(t.marks, sandbox.Phase{Name: name, Seconds: at.Sub(t.last).Seconds()})
	t.last = at
}

func (t *trace) finish() {
	for _, p := range t.marks {
		t.metrics.phases.WithLabelValues(t.sandbox, p.Name).Observe(p.Seconds)
	}
	t.metrics.phases.WithLabelValues(t.sandbox, "total").Observe(t.last.Sub(t.begin).Seconds())
}
