package e2e_test

import (
	"context"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/matchd/matchd/lab/machine"
	"github.com/matchd/matchd/lab/netns"
	"github.com/matchd/matchd/lab/server"
	"github.com/matchd/matchd/lab/storm"
)

const (
	kills        = 20
	stormWorkers = 64
)

// TestKillStorm kills matchd with SIGKILL twenty times in the middle of a storm of leases.
// After every restart each client that ever held an ACK asks for its address and must get
// it, and no address may ever be acknowledged to two clients.
func TestKillStorm(t *testing.T) {
	l := newLab(t)
	for _, args := range [][]string{{"addr", "flush", "dev", netns.Bridge}, {"addr", "add", "10.77.0.1/16", "dev", netns.Bridge}} {
		if err := l.seg.IP(args...); err != nil {
			l.Fatal(err)
		}
	}
	host, err := l.seg.Host("relay")
	if err != nil {
		l.Fatal(err)
	}
	if err := host.IP("addr", "add", "10.77.0.2/16", "dev", "eth0"); err != nil {
		l.Fatal(err)
	}
	crowd, err := storm.New(host, netip.MustParseAddr("10.77.0.2"), netip.MustParseAddr("10.77.0.1"))
	if err != nil {
		l.Fatal(err)
	}
	defer crowd.Close()
	opts := server.Options{Dir: l.dir, Site: server.Site(machine.BIOS, mac1, "db"), Config: `dhcp:
  interfaces:
    - {name: lan0, mode: server}
  subnets:
    - subnet: 10.77.0.0/16
      pools: [10.77.1.0-10.77.255.250]
      lease_time: 12h
  conflict_probe: false
`}
	for round := 1; round <= kills; round++ {
		l.killInStorm(crowd, opts, round)
	}
	s, err := server.Start(l.ctx, l.seg.Namespace, opts)
	if err != nil {
		l.Fatal(err)
	}
	if err := crowd.Verify(l.ctx, stormWorkers); err != nil {
		l.Errorf("after the last kill: %v\n%s", err, s.Tail(30, "  matchd: "))
	}
	if err := s.Stop(); err != nil {
		l.Errorf("stopping matchd: %v", err)
	}
	l.Logf("%d kills, %d leases promised and kept", kills, crowd.Leases())
}

// killInStorm starts matchd on what the kill before left, checks all promises, and kills
// it while new ones are being made.
func (l *lab) killInStorm(crowd *storm.Storm, opts server.Options, round int) {
	s, err := server.Start(l.ctx, l.seg.Namespace, opts)
	if err != nil {
		l.Fatalf("start %d: %v", round, err)
	}
	defer s.Kill()
	if err := crowd.Verify(l.ctx, stormWorkers); err != nil {
		l.Fatalf("after kill %d: %v\n%s", round-1, err, s.Tail(30, "  matchd: "))
	}
	ctx, cancel := context.WithCancel(l.ctx)
	ended := make(chan struct{})
	go func() { defer close(ended); crowd.Run(ctx, stormWorkers) }()
	before := crowd.Leases()
	// When the kill comes must not depend on what matchd does, so it is a time.
	time.Sleep(100*time.Millisecond + rand.N(400*time.Millisecond))
	for crowd.Leases() < before+20 && l.ctx.Err() == nil {
		time.Sleep(10 * time.Millisecond)
	}
	s.Process.Kill()
	cancel()
	<-ended
	if err := server.CheckStores(l.seg.Namespace, opts); err != nil {
		l.Fatalf("after kill %d: %v", round, err)
	}
	l.Logf("kill %d: %d leases more, %d in all", round, crowd.Leases()-before, crowd.Leases())
}
