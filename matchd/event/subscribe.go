package event

import (
	"context"

	"github.com/matchd/matchd/matchd/fault"
)

// SubscriberBuffer is the number of events that wait for a slow subscriber. What comes beyond it is lost to that subscriber, who is told
// how many.
const SubscriberBuffer = 1024

// Delivery is one event for a subscriber. Missed counts the events that were lost before it, because the subscriber was slow.
type Delivery struct {
	Event
	Missed int `json:"missed,omitempty"`
}

type subscriber struct {
	events chan Delivery
	missed int // since the last delivery
}

// deliver is called with the log locked.
func (s *subscriber) deliver(e Event) {
	select {
	case s.events <- Delivery{Event: e, Missed: s.missed}:
		s.missed = 0
	default:
		s.missed++
	}
}

// Subscribe returns a channel of all events recorded from now on; it is closed when ctx ends. More than [MaxSubscribers] at a time are
// refused with kind Unavailable.
func (l *Log) Subscribe(ctx context.Context) (<-chan Delivery, error) {
	s := &subscriber{events: make(chan Delivery, SubscriberBuffer)}
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.subscribers) >= MaxSubscribers {
		return nil, fault.New(fault.Unavailable, "%d others follow the events already", MaxSubscribers)
	}
	l.subscribers[s] = true
	context.AfterFunc(ctx, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.subscribers, s)
		close(s.events)
	})
	return s.events, nil
}
