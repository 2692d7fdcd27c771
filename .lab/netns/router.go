package netns

import (
	"fmt"
	"net"
	"sync"
	"syscall"
	"time"
)

// advertisement is an ICMPv6 router advertisement (RFC 4861 section 4.2) of a router that
// says it is there and offers nothing: no prefix, no default route, no DHCPv6. The kernel
// fills in the checksum.
var advertisement = []byte{134, 0, 0, 0, 64, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}

// Router makes the segment a network with an IPv6 router, as most are. Debian's iPXE of
// 2019 waits 17 s for one before it goes on with what it has long learned by DHCPv4.
// The router ends with the segment.
func (s *Segment) Router() error {
	if err := s.IP("addr", "add", "fe80::1/64", "dev", Bridge, "nodad"); err != nil {
		return err
	}
	var conn net.PacketConn
	err := s.Do(func() (err error) {
		if conn, err = net.ListenPacket("ip6:ipv6-icmp", "fe80::1%"+Bridge); err != nil {
			return err
		}
		raw, err := conn.(*net.IPConn).SyscallConn()
		if err != nil {
			return err
		}
		// Advertisements from further than a hop away are not believed.
		raw.Control(func(fd uintptr) {
			err = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_IPV6, syscall.IPV6_MULTICAST_HOPS, 255)
		})
		return err
	})
	if err != nil {
		return fmt.Errorf("advertising an IPv6 router: %w", err)
	}
	stop := make(chan struct{})
	var ended sync.WaitGroup
	ended.Go(func() {
		defer conn.Close()
		ticker := time.NewTicker(500 * time.Millisecond)
		defer ticker.Stop()
		for {
			select {
			case <-stop:
				return
			case <-ticker.C:
				conn.WriteTo(advertisement, &net.IPAddr{IP: net.IPv6linklocalallnodes, Zone: Bridge})
			}
		}
	})
	s.onClose(func() { close(stop); ended.Wait() })
	return nil
}
