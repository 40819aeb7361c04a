package gateway

import (
	"context"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/unifaas/unifaas/internal/faas"
)

const classes = 5 // 1xx to 5xx

// metrics are the gateway's. What a request touches is resolved once per
// function, so that counting is a handful of atomic additions.
type metrics struct {
	connections prometheus.Gauge
	faults      prometheus.Counter
	rejected    *prometheus.CounterVec
	invocations *prometheus.CounterVec
	duration    *prometheus.HistogramVec
	inFlight    *prometheus.GaugeVec
	bytes       *prometheus.CounterVec
	retries     *prometheus.CounterVec

	mu        sync.RWMutex
	functions map[faas.Ref]*functionMetrics
}

// functionMetrics are one function's, resolved.
type functionMetrics struct {
	name     string
	ok       [classes]prometheus.Counter // outcomes of kind "ok" by status class
	failed   *prometheus.CounterVec      // all others: a failure can afford the look-up
	duration prometheus.Observer
	inFlight prometheus.Gauge
	in, out  prometheus.Counter
	retries  prometheus.Counter
}

func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	opts := func(name, help string) prometheus.Opts {
		return prometheus.Opts{Namespace: "unifaas", Subsystem: "gateway", Name: name, Help: help}
	}
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts(opts(name, help)), labels)
	}
	duration := prometheus.HistogramOpts{
		Namespace: "unifaas", Subsystem: "gateway", Name: "request_duration_seconds",
		Help:    "Time from a request's head to the end of its response.",
		Buckets: prometheus.ExponentialBuckets(0.0005, 2.5, 14), // 0.5 ms to 75 s
	}
	m := &metrics{
		connections: prometheus.NewGauge(prometheus.GaugeOpts(opts("connections", "Open client connections."))),
		faults: prometheus.NewCounter(prometheus.CounterOpts(opts("faults_total",
			"Exchanges that a fault of the platform itself has ended."))),
		rejected:    counter("rejected_requests_total", "Requests refused before a function was found.", "code"),
		invocations: counter("invocations_total", "Invocations by outcome.", "function", "class", "kind"),
		duration:    prometheus.NewHistogramVec(duration, []string{"function"}),
		inFlight: prometheus.NewGaugeVec(prometheus.GaugeOpts(opts("in_flight_requests",
			"Invocations that are queued or being served.")), []string{"function"}),
		bytes:     counter("bytes_total", "Bytes of requests (in) and responses (out) moved.", "function", "direction"),
		retries:   counter("retries_total", "Requests sent to another instance.", "function"),
		functions: map[faas.Ref]*functionMetrics{},
	}
	for _, c := range []prometheus.Collector{
		m.connections, m.faults, m.rejected, m.invocations, m.duration, m.inFlight, m.bytes, m.retries,
	} {
		if err := reg.Register(c); err != nil {
			return nil, fmt.Errorf("register gateway metrics: %w", err)
		}
	}
	return m, nil
}

// of returns the metrics of a function that the catalog knows.
func (m *metrics) of(ref faas.Ref) *functionMetrics {
	m.mu.RLock()
	fm := m.functions[ref]
	m.mu.RUnlock()
	if fm != nil {
		return fm
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if fm := m.functions[ref]; fm != nil {
		return fm
	}
	name := ref.String()
	fm = &functionMetrics{
		name: name, failed: m.invocations,
		duration: m.duration.WithLabelValues(name),
		inFlight: m.inFlight.WithLabelValues(name),
		in:       m.bytes.WithLabelValues(name, "in"),
		out:      m.bytes.WithLabelValues(name, "out"),
		retries:  m.retries.WithLabelValues(name),
	}
	for class := range fm.ok {
		fm.ok[class] = m.invocations.WithLabelValues(name, className(class), "ok")
	}
	m.functions[ref] = fm
	return fm
}

func (m *metrics) forget(ref faas.Ref) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.functions, ref)
	labels := prometheus.Labels{"function": ref.String()}
	for _, v := range []interface {
		DeletePartialMatch(prometheus.Labels) int
	}{m.invocations, m.duration, m.inFlight, m.bytes, m.retries} {
		v.DeletePartialMatch(labels)
	}
}

// className returns "2xx" for 2; "1xx" stands for tunnels.
func className(class int) string { return strconv.Itoa(class+1) + "xx" }

// observe counts an exchange that is over.
func (x *exchange) observe() {
	fm := x.fm
	if fm == nil {
		x.c.g.metrics.rejected.WithLabelValues(strconv.Itoa(x.status)).Inc()
	} else {
		fm.inFlight.Dec()
		class := min(max(x.status/100-1, 0), classes-1)
		if x.failed {
			fm.failed.WithLabelValues(fm.name, className(class), x.kind.String()).Inc()
		} else {
			fm.ok[class].Inc()
		}
		fm.duration.Observe(elapsed(x.began))
		if n := x.in.moved; n > 0 {
			fm.in.Add(float64(n))
		}
		if n := x.out.moved; n > 0 {
			fm.out.Add(float64(n))
		}
	}
	if x.c.g.logs() {
		x.logAccess(x.c.g.opts.AccessLog)
	}
}

func (x *exchange) logAccess(log *slog.Logger) {
	log.LogAttrs(context.Background(), slog.LevelDebug, "request",
		slog.String("request", string(x.id)),
		slog.String("function", x.function()),
		slog.String("client", x.c.addr),
		slog.Int("status", x.status),
		slog.Bool("failed", x.failed),
		slog.Int64("in", x.in.moved),
		slog.Int64("out", x.out.moved),
		slog.Duration("took", time.Since(x.began)),
	)
}
