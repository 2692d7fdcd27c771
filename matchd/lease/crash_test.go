package lease_test

import (
	"bufio"
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/matchd/matchd/matchd/lease"
	"github.com/matchd/matchd/matchd/store/boltstore"
)

const (
	kills        = 20
	leasesToKill = 300 // acknowledged leases per life, about
	stormFile    = "MATCHD_TEST_LEASE_STORM"
	stormFirst   = "MATCHD_TEST_LEASE_FIRST"
)

// TestMain plays the part of a daemon in a lease storm when it is told the file to use.
func TestMain(m *testing.M) {
	if path := os.Getenv(stormFile); path != "" {
		if err := storm(path); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}

func stormSubnet() lease.Subnet {
	return lease.Subnet{
		Prefix:        netip.MustParsePrefix("10.0.0.0/16"),
		Pools:         []lease.Range{{First: netip.MustParseAddr("10.0.0.10"), Last: netip.MustParseAddr("10.0.255.250")}},
		Authoritative: true,
	}
}

// storm leases addresses to ever new clients and prints each that is acknowledged, until it is killed.
func storm(path string) error {
	db, err := boltstore.Open(path, boltstore.Options{Name: "leases", History: -1, LockTimeout: time.Minute})
	if err != nil {
		return err
	}
	pool, err := lease.Open(context.Background(), lease.Options{Store: db, Subnets: []lease.Subnet{stormSubnet()}})
	if err != nil {
		return err
	}
	var first int
	if _, err := fmt.Sscan(os.Getenv(stormFirst), &first); err != nil {
		return err
	}
	var client atomic.Int64
	client.Store(int64(first))
	errs := make(chan error)
	for range 32 {
		go func() {
			for {
				r := lease.Request{MAC: mac(int(client.Add(1))), Link: link}
				g, err := pool.Offer(context.Background(), r)
				if err == nil {
					r.Address = g.Lease.Address
					_, err = pool.Commit(context.Background(), r)
				}
				if err != nil {
					errs <- err
					return
				}
				// One write: a line is printed whole or, when killed, not at all.
				os.Stdout.WriteString(fmt.Sprintf("%s %s\n", r.MAC, r.Address))
			}
		}()
	}
	return <-errs
}

// TestKilledInAStorm kills a daemon twenty times while it gives out leases. Each time all leases that it acknowledged are there, and
// no address has two clients.
func TestKilledInAStorm(t *testing.T) {
	path := filepath.Join(t.TempDir(), "leases.db")
	acknowledged := map[string]string{} // MAC by address
	for life := range kills {
		for _, line := range liveAndDie(t, path, (life+1)*1_000_000) {
			client, address, _ := strings.Cut(line, " ")
			if other, taken := acknowledged[address]; taken {
				t.Fatalf("life %d: %s was given to %s and to %s", life, address, other, client)
			}
			acknowledged[address] = client
		}
		db, err := boltstore.Open(path, boltstore.Options{Name: "leases", LockTimeout: time.Minute})
		if err != nil {
			t.Fatalf("life %d: %v", life, err)
		}
		pool, err := lease.Open(t.Context(), lease.Options{Store: db, Subnets: []lease.Subnet{stormSubnet()}})
		if err != nil {
			t.Fatalf("life %d: %v", life, err)
		}
		lost := 0
		for address, client := range acknowledged {
			if l, ok := pool.Find(netip.MustParseAddr(address)); !ok || l.MAC.String() != client {
				lost++
			}
		}
		if lost > 0 {
			t.Errorf("life %d: %d of %d acknowledged leases are lost", life, lost, len(acknowledged))
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if summary, err := boltstore.CheckFile(path); err != nil || summary.Err() != nil || summary.Records < len(acknowledged) {
		t.Errorf("CheckFile = %+v, %v, with %d leases", summary, err, len(acknowledged))
	}
	t.Logf("%d leases in %d lives", len(acknowledged), kills)
}

// liveAndDie runs a daemon, kills it without warning in the middle of its work, and returns the lines it printed.
func liveAndDie(t *testing.T, path string, first int) []string {
	t.Helper()
	daemon := exec.Command(os.Args[0])
	daemon.Env = append(os.Environ(), stormFile+"="+path, fmt.Sprintf("%s=%d", stormFirst, first))
	var complaints strings.Builder
	daemon.Stderr = &complaints
	out, err := daemon.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := daemon.Start(); err != nil {
		t.Fatal(err)
	}
	var lines []string
	var kill sync.Once
	for scanner := bufio.NewScanner(out); scanner.Scan(); {
		lines = append(lines, scanner.Text())
		if len(lines) >= leasesToKill {
			kill.Do(func() { daemon.Process.Kill() }) // what is in the pipe by then is still read
		}
	}
	daemon.Wait()
	if len(lines) < leasesToKill {
		t.Fatalf("the daemon ended by itself: %s", complaints.String())
	}
	return lines
}

// BenchmarkExchange is DISCOVER, OFFER, REQUEST, ACK with the lease durable before the ACK, for ever new clients in a /16.
func BenchmarkExchange(b *testing.B) {
	for _, workers := range []int{1, 64, 256} {
		b.Run(fmt.Sprintf("workers=%d", workers), func(b *testing.B) {
			pool := newBench(b, lease.Options{Subnets: []lease.Subnet{stormSubnet()}})
			var client atomic.Int64
			var wg sync.WaitGroup
			b.ReportAllocs()
			b.ResetTimer()
			for range workers {
				wg.Go(func() {
					for n := client.Add(1); n <= int64(b.N); n = client.Add(1) {
						pool.take(lease.Request{MAC: mac(int(n % 60_000)), ClientID: []byte{1, 2, 3}, Hostname: "node"})
					}
				})
			}
			wg.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "exchanges/s")
		})
	}
}

// BenchmarkOffer is what a DISCOVER costs without the wire, in a /16 that is nearly full.
func BenchmarkOffer(b *testing.B) {
	s := stormSubnet()
	pool := newBench(b, lease.Options{Subnets: []lease.Subnet{s}})
	for i := range 60_000 {
		pool.offer(lease.Request{MAC: mac(i)})
	}
	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N {
		pool.offer(lease.Request{MAC: mac(i % 60_000)})
	}
}
