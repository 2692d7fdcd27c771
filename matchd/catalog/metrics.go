package catalog

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/matchd/matchd/matchd/render"
)

// metrics counts what the catalog does. A nil *metrics counts nothing.
type metrics struct {
	revision, groups, profiles, leftOut prometheus.Gauge
	hits, misses, failures              prometheus.Counter
	rendering, building                 prometheus.Histogram
}

func newMetrics(registry prometheus.Registerer) *metrics {
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Namespace: "matchd", Subsystem: "catalog", Name: name, Help: help})
	}
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Namespace: "matchd", Subsystem: "render", Name: name, Help: help})
	}
	buckets := prometheus.ExponentialBuckets(0.0005, 2, 14) // 0.5 ms to 4 s
	m := &metrics{
		revision: gauge("revision", "Revision of the config store that is served."),
		groups:   gauge("groups", "Groups that are served."),
		profiles: gauge("profiles", "Profiles that are served."),
		leftOut:  gauge("records_left_out", "Records that cannot be decoded and are not served."),
		hits:     counter("cache_hits_total", "Rendered documents that were remembered."),
		misses:   counter("cache_misses_total", "Rendered documents that had to be rendered."),
		failures: counter("failures_total", "Documents that could not be rendered."),
		rendering: prometheus.NewHistogram(prometheus.HistogramOpts{
			Namespace: "matchd", Subsystem: "render", Name: "duration_seconds", Help: "Time to render one document.", Buckets: buckets,
		}),
		building: prometheus.NewHistogram(prometheus.HistogramOpts{
			Namespace: "matchd", Subsystem: "catalog", Name: "build_duration_seconds", Help: "Time to build one snapshot.", Buckets: buckets,
		}),
	}
	if registry != nil {
		registry.MustRegister(m.revision, m.groups, m.profiles, m.leftOut, m.hits, m.misses, m.failures, m.rendering, m.building)
	}
	return m
}

func (m *metrics) swapped(s *Snapshot, took time.Duration) {
	m.revision.Set(float64(s.Revision))
	m.groups.Set(float64(s.Groups.Len()))
	m.profiles.Set(float64(len(s.Profiles)))
	m.leftOut.Set(float64(len(s.Problems)))
	m.building.Observe(took.Seconds())
}

func (m *metrics) cacheHit() {
	if m != nil {
		m.hits.Inc()
	}
}

func (m *metrics) cacheMiss() {
	if m != nil {
		m.misses.Inc()
	}
}

func (m *metrics) timed(render renderFunc) renderFunc {
	if m == nil {
		return render
	}
	return func(ctx context.Context) (any, error) {
		start := time.Now()
		value, err := render(ctx)
		m.rendering.Observe(time.Since(start).Seconds())
		if err != nil {
			m.failures.Inc()
		}
		return value, err
	}
}

// sizeOf estimates the memory of a rendered document, in bytes.
func sizeOf(value any) int {
	switch v := value.(type) {
	case []byte:
		return len(v)
	case *render.Config:
		return len(v.JSON)
	}
	return 0
}
