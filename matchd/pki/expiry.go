package pki

import (
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// ExpiryWarning is how long before its end a certificate is warned of.
const ExpiryWarning = 30 * 24 * time.Hour

// Expiry is when a certificate ends.
type Expiry struct {
	Name string // such as "rpc-server", "rpc-ca"
	File string
	End  time.Time
}

// Warning says that the certificate ends soon, or has; empty: neither.
func (e Expiry) Warning(now time.Time) string {
	left := e.End.Sub(now)
	switch {
	case left <= 0:
		return fmt.Sprintf("the certificate %s expired on %s", e.File, e.End.UTC().Format(time.DateOnly))
	case left < ExpiryWarning:
		return fmt.Sprintf("the certificate %s expires in %d days, on %s", e.File, int(left/(24*time.Hour)), e.End.UTC().Format(time.DateOnly))
	}
	return ""
}

// Expiries returns when what is in use ends: the server's certificate, and of the authorities the one that ends first. name is what they are for, such as "rpc".
func (r *Reloader) Expiries(name string) []Expiry {
	keys := r.Keys()
	expiries := []Expiry{{name + "-server", r.files.Cert, keys.Certificate.Leaf.NotAfter}}
	if len(keys.CAs) == 0 {
		return expiries
	}
	first := keys.CAs[0].NotAfter
	for _, ca := range keys.CAs[1:] {
		if ca.NotAfter.Before(first) {
			first = ca.NotAfter
		}
	}
	return append(expiries, Expiry{name + "-ca", r.files.CA, first})
}

// Collector returns the expiries as metrics.
func (r *Reloader) Collector(name string) prometheus.Collector {
	return &expiryCollector{r, name, prometheus.NewDesc("matchd_certificate_expires_timestamp_seconds",
		"When a certificate ends, in seconds since 1970.", []string{"certificate"}, prometheus.Labels{"use": name})}
}

type expiryCollector struct {
	reloader *Reloader
	name     string
	desc     *prometheus.Desc
}

// Describe implements prometheus.Collector.
func (c *expiryCollector) Describe(descs chan<- *prometheus.Desc) { descs <- c.desc }

// Collect implements prometheus.Collector.
func (c *expiryCollector) Collect(metrics chan<- prometheus.Metric) {
	for _, e := range c.reloader.Expiries(c.name) {
		metrics <- prometheus.MustNewConstMetric(c.desc, prometheus.GaugeValue, float64(e.End.Unix()), e.Name)
	}
}
