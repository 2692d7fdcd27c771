package lease

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/matchd/matchd/matchd/fault"
)

// metrics counts verdicts, and collects the use of the subnets when asked.
type metrics struct {
	pool *Pool

	granted, refused, silent, errors prometheus.Counter
	released, declined               prometheus.Counter
	conflicts, unprobed              prometheus.Counter

	size, used *prometheus.Desc
}

// newMetrics registers the pool's metrics, if there is a registry.
func newMetrics(p *Pool, registry prometheus.Registerer) (*metrics, error) {
	verdicts := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "matchd_lease_verdicts_total", Help: "Answers to requests for an address.",
	}, []string{"verdict"})
	ends := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "matchd_lease_ends_total", Help: "Leases that clients gave back or declined.",
	}, []string{"end"})
	probes := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "matchd_lease_probes_total", Help: "Addresses that were found in use, and offers made without looking because too many probes were under way.",
	}, []string{"result"})
	m := &metrics{
		pool:    p,
		granted: verdicts.WithLabelValues("granted"), refused: verdicts.WithLabelValues("refused"),
		silent: verdicts.WithLabelValues("silent"), errors: verdicts.WithLabelValues("error"),
		released: ends.WithLabelValues("released"), declined: ends.WithLabelValues("declined"),
		conflicts: probes.WithLabelValues("in_use"), unprobed: probes.WithLabelValues("skipped"),
		size: prometheus.NewDesc("matchd_lease_pool_size", "Dynamic addresses of a subnet.", []string{"subnet"}, nil),
		used: prometheus.NewDesc("matchd_lease_pool_addresses", "Dynamic addresses of a subnet by state.", []string{"subnet", "state"}, nil),
	}
	if registry == nil {
		return m, nil
	}
	for _, c := range [...]prometheus.Collector{verdicts, ends, probes, m} {
		if err := registry.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// failed counts a verdict that is an error.
func (m *metrics) failed(err error) {
	switch fault.KindOf(err) {
	case fault.Conflict:
		m.refused.Inc()
	case fault.NotFound:
		m.silent.Inc()
	default:
		m.errors.Inc()
	}
}

// Describe implements [prometheus.Collector].
func (m *metrics) Describe(ch chan<- *prometheus.Desc) {
	ch <- m.size
	ch <- m.used
}

// Collect implements [prometheus.Collector].
func (m *metrics) Collect(ch chan<- prometheus.Metric) {
	for _, s := range m.pool.Stats() {
		subnet := s.Prefix.String()
		ch <- prometheus.MustNewConstMetric(m.size, prometheus.GaugeValue, float64(s.Size), subnet)
		for state, n := range map[string]int{"free": s.Free, "offered": s.Offered, "active": s.Active, "declined": s.Declined} {
			ch <- prometheus.MustNewConstMetric(m.used, prometheus.GaugeValue, float64(n), subnet, state)
		}
	}
}
