package web

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

type metrics struct {
	requests *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
	bytes    prometheus.Counter
	conns    prometheus.Gauge
	refused  prometheus.Counter
	panics   prometheus.Counter
	broken   prometheus.Counter
}

func newMetrics(registry prometheus.Registerer) *metrics {
	factory := promauto.With(registry)
	return &metrics{
		requests: factory.NewCounterVec(prometheus.CounterOpts{Name: "matchd_http_requests_total", Help: "Machines' HTTP requests by route and status."}, []string{"route", "status"}),
		seconds: factory.NewHistogramVec(prometheus.HistogramOpts{
			Name: "matchd_http_request_seconds", Help: "Duration of machines' HTTP requests, sending included.", Buckets: prometheus.ExponentialBuckets(0.0005, 4, 10),
		}, []string{"route"}),
		bytes:   factory.NewCounter(prometheus.CounterOpts{Name: "matchd_http_sent_bytes_total", Help: "Bytes of bodies sent to machines by HTTP."}),
		conns:   factory.NewGauge(prometheus.GaugeOpts{Name: "matchd_http_connections", Help: "Machines' HTTP connections."}),
		refused: factory.NewCounter(prometheus.CounterOpts{Name: "matchd_http_connections_refused_total", Help: "HTTP connections closed because their address had too many."}),
		broken:  factory.NewCounter(prometheus.CounterOpts{Name: "matchd_https_handshakes_failed_total", Help: "TLS handshakes of machines that failed; most do not trust the certificate."}),
		panics:  factory.NewCounter(prometheus.CounterOpts{Name: "matchd_http_panics_total", Help: "Panics of HTTP handlers that were recovered."}),
	}
}
