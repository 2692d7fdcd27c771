package tftp

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// What becomes of a request.
const (
	outcomeSent      = "sent"
	outcomeProbe     = "probe"     // only the size was wanted
	outcomeNotFound  = "not_found" // no such file
	outcomeBusy      = "busy"      // too many transfers
	outcomeMalformed = "malformed" // not a read request that we understand
	outcomeAborted   = "aborted"   // by the client, or by its silence
	outcomeFailed    = "failed"    // by us
)

type metrics struct {
	requests    *prometheus.CounterVec
	active      prometheus.Gauge
	bytes       prometheus.Counter
	retransmits prometheus.Counter
	seconds     prometheus.Histogram
}

func newMetrics(registry prometheus.Registerer) *metrics {
	factory := promauto.With(registry)
	m := &metrics{
		requests:    factory.NewCounterVec(prometheus.CounterOpts{Name: "matchd_tftp_requests_total", Help: "TFTP requests by what became of them."}, []string{"outcome"}),
		active:      factory.NewGauge(prometheus.GaugeOpts{Name: "matchd_tftp_transfers_active", Help: "TFTP transfers under way."}),
		bytes:       factory.NewCounter(prometheus.CounterOpts{Name: "matchd_tftp_sent_bytes_total", Help: "Bytes that TFTP clients acknowledged."}),
		retransmits: factory.NewCounter(prometheus.CounterOpts{Name: "matchd_tftp_retransmits_total", Help: "TFTP blocks that were sent again."}),
		seconds: factory.NewHistogram(prometheus.HistogramOpts{
			Name: "matchd_tftp_transfer_seconds", Help: "Duration of complete TFTP transfers.", Buckets: prometheus.ExponentialBuckets(0.01, 3, 9),
		}),
	}
	for _, outcome := range [...]string{outcomeSent, outcomeProbe, outcomeNotFound, outcomeBusy, outcomeMalformed, outcomeAborted, outcomeFailed} {
		m.requests.WithLabelValues(outcome)
	}
	return m
}
