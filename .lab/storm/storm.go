package storm

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"sync"
	"time"

	"github.com/matchd/matchd/lab/netns"
	"github.com/matchd/matchd/lab/wire"
)

// patience with one answer; a server that was killed costs every client this much.
const patience = 700 * time.Millisecond

// Storm is a crowd of clients and the record of what they were promised.
type Storm struct {
	*Relay

	mu       sync.Mutex
	next     uint32
	leases   map[[6]byte]netip.Addr // acknowledged and never given back
	owner    map[netip.Addr][6]byte
	problems []error
}

// New opens a crowd behind a relay at addr in the namespace.
func New(ns *netns.Namespace, addr, server netip.Addr) (*Storm, error) {
	s := &Storm{leases: map[[6]byte]netip.Addr{}, owner: map[netip.Addr][6]byte{}}
	relay, err := NewRelay(ns, addr, server, s.late)
	s.Relay = relay
	return s, err
}

// late takes the answers that came after the client had lost patience. An ACK is a
// promise also then: it may have been the last packet before the server died.
func (s *Storm) late(m *wire.Message) {
	if m.Type() == wire.Ack {
		s.promise(m)
	}
}

// promise records an ACK and whether it breaks an earlier one.
func (s *Storm) promise(ack *wire.Message) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if old, ok := s.owner[ack.Your]; ok && old != ack.MAC {
		s.problems = append(s.problems, fmt.Errorf("%s was given to %x and then to %x", ack.Your, old, ack.MAC))
	}
	if old, ok := s.leases[ack.MAC]; ok && old != ack.Your {
		s.problems = append(s.problems, fmt.Errorf("%x has %s and was given %s too", ack.MAC, old, ack.Your))
	}
	s.owner[ack.Your] = ack.MAC
	s.leases[ack.MAC] = ack.Your
}

// Run lets workers do whole exchanges for ever new clients until the context ends. Some
// clients come back at once and renew what they have.
func (s *Storm) Run(ctx context.Context, workers int) {
	var group sync.WaitGroup
	for range workers {
		group.Go(func() {
			for ctx.Err() == nil {
				mac := s.newcomer()
				if s.lease(ctx, mac) == nil && rand.IntN(4) == 0 {
					s.reboot(ctx, mac)
				}
			}
		})
	}
	group.Wait()
}

func (s *Storm) newcomer() [6]byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.next++
	n := s.next
	return [6]byte{0x02, 0x77, byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)}
}

// lease is DISCOVER, OFFER, REQUEST, ACK.
func (s *Storm) lease(ctx context.Context, mac [6]byte) error {
	offer, err := s.Exchange(ctx, message(mac, wire.Discover), patience)
	if err != nil {
		return err
	}
	if offer.Type() != wire.Offer {
		return fmt.Errorf("DISCOVER was answered with type %d", offer.Type())
	}
	request := message(mac, wire.Request)
	request.SetAddr(wire.OptRequestedIP, offer.Your)
	request.Options[wire.OptServerID] = offer.Options[wire.OptServerID]
	ack, err := s.Exchange(ctx, request, patience)
	if err != nil {
		return err
	}
	if ack.Type() != wire.Ack {
		return fmt.Errorf("REQUEST for the address just offered was answered with type %d", ack.Type())
	}
	s.promise(ack)
	return nil
}

// reboot asks as a client does that comes up again and still knows its address
// (INIT-REBOOT, RFC 2131 section 4.3.2).
func (s *Storm) reboot(ctx context.Context, mac [6]byte) error {
	s.mu.Lock()
	addr := s.leases[mac]
	s.mu.Unlock()
	request := message(mac, wire.Request)
	request.SetAddr(wire.OptRequestedIP, addr)
	answer, err := s.Exchange(ctx, request, patience)
	if err != nil {
		return fmt.Errorf("%x asks for its %s: %w", mac, addr, err)
	}
	if answer.Type() != wire.Ack || answer.Your != addr {
		return fmt.Errorf("%x asks for its %s and gets type %d, %s", mac, addr, answer.Type(), answer.Your)
	}
	s.promise(answer)
	return nil
}

// Verify lets every client that was promised an address ask for it again, and returns
// every promise that was not kept, now or earlier.
func (s *Storm) Verify(ctx context.Context, workers int) error {
	s.mu.Lock()
	macs := make(chan [6]byte, len(s.leases))
	for mac := range s.leases {
		macs <- mac
	}
	s.mu.Unlock()
	close(macs)
	var group sync.WaitGroup
	for range workers {
		group.Go(func() {
			for mac := range macs {
				if err := s.insist(ctx, mac); err != nil {
					s.mu.Lock()
					s.problems = append(s.problems, err)
					s.mu.Unlock()
				}
			}
		})
	}
	group.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.problems) > 10 {
		return errors.Join(append(s.problems[:10:10], fmt.Errorf("and %d more", len(s.problems)-10))...)
	}
	return errors.Join(s.problems...)
}

// insist repeats what UDP may lose; a refusal counts at once.
func (s *Storm) insist(ctx context.Context, mac [6]byte) error {
	var err error
	for range 5 {
		if err = s.reboot(ctx, mac); !errors.Is(err, ErrSilence) {
			return err
		}
	}
	return err
}

// Leases returns how many promises there are.
func (s *Storm) Leases() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.leases)
}

func message(mac [6]byte, kind byte) *wire.Message {
	return &wire.Message{MAC: mac, Options: map[byte][]byte{
		wire.OptType: {kind}, wire.OptParameters: {1, 3, 6, 12, 15, 51, 54},
	}}
}
