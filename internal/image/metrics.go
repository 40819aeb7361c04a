package image

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/unifaas/unifaas/internal/faas"
)

type metrics struct {
	resolves *prometheus.CounterVec
	duration prometheus.Histogram
}

func newMetrics(r prometheus.Registerer) *metrics {
	f := promauto.With(r)
	return &metrics{
		resolves: f.NewCounterVec(prometheus.CounterOpts{
			Name: "unifaas_image_resolves_total",
			Help: "Image sources resolved, by outcome: ok or the kind of the error.",
		}, []string{"outcome"}),
		duration: f.NewHistogram(prometheus.HistogramOpts{
			Name:    "unifaas_image_resolve_seconds",
			Help:    "Time to resolve an image source, with its import where it was new.",
			Buckets: prometheus.ExponentialBuckets(0.0005, 4, 9),
		}),
	}
}

func (m *metrics) observe(err error, d time.Duration) {
	outcome := "ok"
	if err != nil {
		outcome = faas.KindOf(err).String()
	}
	m.resolves.WithLabelValues(outcome).Inc()
	m.duration.Observe(d.Seconds())
}
