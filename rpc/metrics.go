package rpc

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc/codes"
)

type metrics struct {
	calls       *prometheus.CounterVec
	seconds     *prometheus.HistogramVec
	refused     *prometheus.CounterVec
	connections prometheus.Gauge
	streams     prometheus.Gauge
}

func newMetrics(registry prometheus.Registerer) *metrics {
	m := &metrics{
		calls: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "matchd_rpc_calls_total", Help: "Calls of the API by method and status code.",
		}, []string{"method", "code"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "matchd_rpc_call_seconds", Help: "How long calls took; streams until their end.", Buckets: []float64{.001, .005, .02, .1, .5, 2, 10, 60},
		}, []string{"method"}),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "matchd_rpc_refused_connections_total", Help: "Connections to the API that were not let in, by reason.",
		}, []string{"reason"}),
		connections: prometheus.NewGauge(prometheus.GaugeOpts{Name: "matchd_rpc_connections", Help: "Open connections to the API."}),
		streams:     prometheus.NewGauge(prometheus.GaugeOpts{Name: "matchd_rpc_streams", Help: "Streams of the API that are open."}),
	}
	if registry != nil {
		registry.MustRegister(m.calls, m.seconds, m.refused, m.connections, m.streams)
	}
	return m
}

// finished counts a call. The methods are those of the policy, so that there are only so many.
func (m *metrics) finished(c *call, code codes.Code, took time.Duration) {
	m.calls.WithLabelValues(c.method, codeName(code)).Inc()
	m.seconds.WithLabelValues(c.method).Observe(took.Seconds())
}
