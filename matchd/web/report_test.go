package web

import (
	"net/netip"
	"testing"
	"time"
)

// TestReportersAreBounded asks from ever new addresses: those who asked last are still counted, the others make room.
func TestReportersAreBounded(t *testing.T) {
	l := newLimiter(2, time.Second)
	address := func(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}) }
	now := time.Date(2026, 11, 23, 2, 0, 0, 0, time.UTC)
	for i := range maxReporters {
		if !l.allow(address(i), now) {
			t.Fatalf("address %d is refused", i)
		}
	}
	now = now.Add(time.Minute) // every bucket is full again
	talker := address(maxReporters)
	for i, want := range []bool{true, true, false} {
		if got := l.allow(talker, now); got != want {
			t.Errorf("report %d of one address is allowed: %v, want %v", i+1, got, want)
		}
	}
	if n := len(l.peers); n != 1 {
		t.Errorf("%d addresses are counted after all others' buckets were full again, want 1", n)
	}
	if !l.allow(talker, now.Add(time.Second)) {
		t.Error("a second later one address is still refused")
	}
	for i := range maxReporters + 10 { // all at once: nobody's bucket is full
		l.allow(address(i), now)
	}
	if n := len(l.peers); n > maxReporters {
		t.Errorf("%d addresses are counted, want at most %d", n, maxReporters)
	}
}
