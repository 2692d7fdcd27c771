package dhcp

import (
	"strings"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/prometheus/client_golang/prometheus"
)

// types is the number of message types that are counted by name (RFC 2131 section 9.6); others count as "other".
const types = 9

// metrics counts what happens to packets. The counters by type are looked up once, since each packet touches two.
type metrics struct {
	packets [types]prometheus.Counter
	replies [types]prometheus.Counter
	seconds [types]prometheus.Observer
	drops   *prometheus.CounterVec
	others  *prometheus.GaugeVec
}

func newMetrics(registry prometheus.Registerer) *metrics {
	packets := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "matchd_dhcp_packets_total", Help: "DHCP packets understood, by message type.",
	}, []string{"type"})
	replies := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "matchd_dhcp_replies_total", Help: "DHCP replies, by message type.",
	}, []string{"type"})
	seconds := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "matchd_dhcp_reply_seconds", Help: "Time from reading a packet to its reply, by the reply's message type.",
		Buckets: prometheus.ExponentialBuckets(0.00005, 4, 9),
	}, []string{"type"})
	m := &metrics{
		drops: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "matchd_dhcp_dropped_total", Help: "DHCP packets that got no answer, by reason.",
		}, []string{"reason"}),
		others: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "matchd_dhcp_other_servers", Help: "Other DHCP servers that answered on an interface in server mode.",
		}, []string{"interface"}),
	}
	for i := range types {
		name := typeName(dhcpv4.MessageType(i))
		m.packets[i], m.replies[i] = packets.WithLabelValues(name), replies.WithLabelValues(name)
		m.seconds[i] = seconds.WithLabelValues(name)
	}
	if registry != nil {
		registry.MustRegister(packets, replies, seconds, m.drops, m.others)
	}
	return m
}

func typeName(t dhcpv4.MessageType) string {
	if index(t) == 0 {
		return "other"
	}
	return strings.ToLower(t.String())
}

func index(t dhcpv4.MessageType) int {
	if int(t) >= types {
		return 0
	}
	return int(t)
}

func (m *metrics) received(t dhcpv4.MessageType) { m.packets[index(t)].Inc() }
func (m *metrics) dropped(reason string)         { m.drops.WithLabelValues(reason).Inc() }

func (m *metrics) answered(t dhcpv4.MessageType, took time.Duration) {
	m.replies[index(t)].Inc()
	m.seconds[index(t)].Observe(took.Seconds())
}

// watchQueue shows how many packets wait for a worker.
func (m *metrics) watchQueue(registry prometheus.Registerer, length func() float64) {
	if registry == nil {
		return
	}
	registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "matchd_dhcp_queue_length", Help: "DHCP packets that wait for a worker.",
	}, length))
}
