package catalog

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

type metrics struct {
	functions *prometheus.GaugeVec
	loads     *prometheus.CounterVec
}

func newMetrics(r prometheus.Registerer) *metrics {
	f := promauto.With(r)
	return &metrics{
		functions: f.NewGaugeVec(prometheus.GaugeOpts{
			Name: "unifaas_catalog_functions",
			Help: "Functions by state: current, stale (an older version is served), failed (none is).",
		}, []string{"state"}),
		loads: f.NewCounterVec(prometheus.CounterOpts{
			Name: "unifaas_catalog_loads_total",
			Help: "Attempts to load a version of a function, by outcome.",
		}, []string{"outcome"}),
	}
}

func (m *metrics) count(s *Snapshot) {
	var current, stale, failed float64
	for _, st := range s.list {
		switch {
		case st.Revision == nil:
			failed++
		case st.Err != nil:
			stale++
		default:
			current++
		}
	}
	m.functions.WithLabelValues("current").Set(current)
	m.functions.WithLabelValues("stale").Set(stale)
	m.functions.WithLabelValues("failed").Set(failed)
}
