package pool

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/unifaas/unifaas/internal/faas"
)

// metrics are labelled by function only, and a function's go when it is no
// longer deployed, so that they stay bounded.
type metrics struct {
	starts       *prometheus.CounterVec
	startSeconds *prometheus.HistogramVec
	waitSeconds  *prometheus.HistogramVec
	stopFailures *prometheus.CounterVec
	fallbacks    *prometheus.CounterVec
}

func newMetrics(p *Pool) *metrics {
	function := []string{"function"}
	m := &metrics{
		starts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "unifaas_pool_starts_total",
			Help: "Starts of instances by outcome: ok, canceled (nobody waited any more) or the kind of the failure.",
		}, []string{"function", "outcome"}),
		startSeconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "unifaas_pool_start_seconds",
			Help:    "Time from the beginning of a start until the instance could serve.",
			Buckets: prometheus.ExponentialBuckets(0.008, 2, 13), // 8 ms to 33 s
		}, function),
		waitSeconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "unifaas_pool_queue_wait_seconds",
			Help:    "Time that requests which found no room waited, however it ended.",
			Buckets: prometheus.ExponentialBuckets(0.001, 2, 17), // 1 ms to 66 s
		}, function),
		stopFailures: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "unifaas_pool_stop_failures_total",
			Help: "Attempts to stop an instance that failed; they are repeated.",
		}, function),
		fallbacks: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "unifaas_pool_fallback_requests_total",
			Help: "Requests that were sent to the function's fallback because its own sandbox fails.",
		}, function),
	}
	if r := p.opts.Registerer; r != nil {
		r.MustRegister(m.starts, m.startSeconds, m.waitSeconds, m.stopFailures, m.fallbacks, collector{pool: p})
	}
	return m
}

func (m *metrics) started(ref faas.Ref, took time.Duration) {
	m.startSeconds.WithLabelValues(ref.String()).Observe(took.Seconds())
	m.startEnded(ref, "ok")
}

func (m *metrics) startEnded(ref faas.Ref, outcome string) {
	m.starts.WithLabelValues(ref.String(), outcome).Inc()
}

func (m *metrics) stopFailed(ref faas.Ref) { m.stopFailures.WithLabelValues(ref.String()).Inc() }

func (m *metrics) fellBack(ref faas.Ref) { m.fallbacks.WithLabelValues(ref.String()).Inc() }

func (m *metrics) forget(ref faas.Ref) {
	labels := prometheus.Labels{"function": ref.String()}
	m.starts.DeletePartialMatch(labels)
	m.startSeconds.DeletePartialMatch(labels)
	m.waitSeconds.DeletePartialMatch(labels)
	m.stopFailures.DeletePartialMatch(labels)
	m.fallbacks.DeletePartialMatch(labels)
}

var (
	instancesDesc = prometheus.NewDesc("unifaas_pool_instances",
		"Instances by state.", []string{"function", "state"}, nil)
	queuedDesc = prometheus.NewDesc("unifaas_pool_queued_requests",
		"Requests that wait for an instance.", []string{"function"}, nil)
	reliefDesc = prometheus.NewDesc("unifaas_pool_fallback",
		"1 while a function is served by its fallback because its own sandbox keeps failing.", []string{"function"}, nil)
	memoryDesc = prometheus.NewDesc("unifaas_pool_instance_memory_bytes",
		"Memory of all instances of a function, last measured.", []string{"function"}, nil)
)

// A collector reads the gauges off the pool when they are asked for, so that
// nothing lingers of what is gone.
type collector struct{ pool *Pool }

func (c collector) Describe(ch chan<- *prometheus.Desc) {
	ch <- instancesDesc
	ch <- queuedDesc
	ch <- memoryDesc
	ch <- reliefDesc
}

func (c collector) Collect(ch chan<- prometheus.Metric) {
	for _, st := range c.pool.Snapshot() {
		function := st.Function.String()
		if st.Relief != nil {
			ch <- prometheus.MustNewConstMetric(reliefDesc, prometheus.GaugeValue, 1, function)
		}
		if len(st.Instances) == 0 && st.Queued == 0 {
			continue
		}
		var memory int64
		states := map[State]int{}
		for _, i := range st.Instances {
			states[i.State]++
			memory += i.Memory
		}
		for state, n := range states {
			ch <- prometheus.MustNewConstMetric(instancesDesc, prometheus.GaugeValue, float64(n), function, string(state))
		}
		ch <- prometheus.MustNewConstMetric(queuedDesc, prometheus.GaugeValue, float64(st.Queued), function)
		ch <- prometheus.MustNewConstMetric(memoryDesc, prometheus.GaugeValue, float64(memory), function)
	}
}
