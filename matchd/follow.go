package matchd

import (
	"context"
	"fmt"
	"runtime/debug"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/matchd/matchd/matchd/site"
	"github.com/matchd/matchd/matchd/store"
)

// applyTimeout bounds one application of a site, until it is served.
const applyTimeout = time.Minute

// manyObjects is the size of a change after which memory is given back at once.
const manyObjects = 1000

// siteMetrics tell whether the site directory is what is served.
type siteMetrics struct {
	ok    prometheus.Gauge
	loads *prometheus.CounterVec
}

func newSiteMetrics(registry prometheus.Registerer) *siteMetrics {
	m := &siteMetrics{
		ok: prometheus.NewGauge(prometheus.GaugeOpts{
			Namespace: "matchd", Subsystem: "site", Name: "ok", Help: "1 while the site directory is served as it is, 0 while it has problems and the last good state is served.",
		}),
		loads: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: "matchd", Subsystem: "site", Name: "loads_total", Help: "Times that the site directory was read, by result: applied, unchanged, refused.",
		}, []string{"result"}),
	}
	registry.MustRegister(m.ok, m.loads)
	return m
}

// followSite applies the site directory and every change of it until ctx ends. What is refused changes nothing: the log, the health
// endpoints and the metrics tell.
func (s *Server) followSite(ctx context.Context) error {
	if s.cfg.Site == "" {
		return nil
	}
	if s.directory != nil {
		return s.followDirectory(ctx)
	}
	return site.Watch(ctx, s.cfg.Site, site.WatchOptions{Logger: s.log, RefuseOverlaps: s.cfg.Overlaps == OverlapsError}, func(loaded *site.Site, err error) error {
		s.first.set(loaded, err)
		if err != nil {
			s.tellSite("refused", err)
			return nil // only an edit mends it
		}
		result, err := s.applySite(ctx, loaded)
		if ctx.Err() != nil {
			return nil
		}
		s.tellSite(result, err)
		return err // to be tried again
	})
}

// followDirectory is followSite for matchbox's data directory, of which what cannot be used is left out.
func (s *Server) followDirectory(ctx context.Context) error {
	return site.Watch(ctx, s.cfg.Site, site.WatchOptions{Logger: s.log, Read: s.directory.Read}, func(loaded *site.Site, err error) error {
		s.first.set(loaded, err)
		result := "refused"
		if err == nil {
			result, err = s.applySite(ctx, loaded)
		}
		if ctx.Err() != nil {
			return nil
		}
		if err == nil {
			s.health.setLeftOut(loaded.LeftOut)
			for _, problem := range loaded.LeftOut {
				s.log.Error("site: left out: " + problem.String())
			}
		}
		s.tellSite(result, err)
		return err
	})
}

// tellSite says in health, metrics and log what became of the site that was read last.
func (s *Server) tellSite(result string, err error) {
	s.health.setSite(err)
	s.siteMetrics.loads.WithLabelValues(result).Inc()
	if err == nil {
		s.siteMetrics.ok.Set(1)
		return
	}
	s.siteMetrics.ok.Set(0)
	s.log.Error("the site has problems and is not applied: the last good state is served or, without one, machines are told to wait", "site", s.cfg.Site, "problems", strings.Count(err.Error(), "\n")+1)
	for line := range strings.SplitSeq(err.Error(), "\n") {
		s.log.Error("site: " + line)
	}
}

// applySite makes the site what is served, as one revision.
func (s *Server) applySite(ctx context.Context, loaded *site.Site) (result string, err error) {
	ctx, cancel := context.WithTimeout(ctx, applyTimeout)
	defer cancel()
	for _, warning := range loaded.Warnings {
		s.log.Warn("site: " + warning.String())
	}
	var revision store.Revision
	changed := 0
	if s.directory != nil {
		loaded, revision, changed, err = s.directory.Apply(ctx, loaded, s.stores["config"])
	} else {
		revision, changed, err = loaded.Apply(ctx, s.stores["config"])
	}
	if err != nil {
		return "refused", err
	}
	if _, err := s.catalog.WaitFor(ctx, revision); err != nil {
		return "refused", fmt.Errorf("the site is stored but not served: %w", err)
	}
	if changed >= manyObjects {
		debug.FreeOSMemory() // reading that many files left garbage that is not needed again until the next such change
	}
	s.log.Info("the site is served", "site", s.cfg.Site, "revision", revision, "changed", changed, "content", loaded.Describe())
	if changed == 0 {
		return "unchanged", nil
	}
	return "applied", nil
}
