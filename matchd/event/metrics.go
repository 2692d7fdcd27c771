package event

import "github.com/prometheus/client_golang/prometheus"

// metrics counts steps of boots and how long they take.
type metrics struct {
	events   *prometheus.CounterVec
	latency  *prometheus.HistogramVec
	machines prometheus.Gauge
	failures prometheus.Counter
}

func newMetrics(registry prometheus.Registerer) *metrics {
	m := &metrics{
		events: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: "matchd", Name: "events_total", Help: "Events of machines' timelines, by stage and level.",
		}, []string{"stage", "level"}),
		latency: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: "matchd", Subsystem: "boot", Name: "stage_seconds", Help: "Time from the first packet of a boot to each stage of it.",
			Buckets: prometheus.ExponentialBuckets(0.01, 2, 17), // 10 ms to 11 min
		}, []string{"stage"}),
		machines: prometheus.NewGauge(prometheus.GaugeOpts{Namespace: "matchd", Name: "timelines", Help: "Machines whose timeline is kept."}),
		failures: prometheus.NewCounter(prometheus.CounterOpts{
			Namespace: "matchd", Subsystem: "timeline", Name: "write_failures_total", Help: "Failed writes of timelines to the store.",
		}),
	}
	if registry != nil {
		registry.MustRegister(m.events, m.latency, m.machines, m.failures)
	}
	return m
}

func (m *metrics) recorded(e Event, machines int) {
	m.events.WithLabelValues(string(e.Stage), string(e.Level)).Inc()
	m.machines.Set(float64(machines))
}

// step measures how long after its boot's first packet the event came.
func (m *metrics) step(earlier []Event, e Event) {
	if e.Stage == Seen {
		return
	}
	start := latestBoot(earlier)[0]
	if took := e.Time.Sub(start.Time); start.Stage == Seen && took >= 0 && took < bootGap*4 {
		m.latency.WithLabelValues(string(e.Stage)).Observe(took.Seconds())
	}
}

func (m *metrics) flushFailed() { m.failures.Inc() }
