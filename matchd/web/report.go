package web

import (
	"errors"
	"io"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/matchd/matchd/matchd/event"
)

// Bounds of reports.
const (
	// maxReport is the size of a report's body in bytes.
	maxReport = 64 << 10
	// keptReport is how much of it the timeline keeps, from its end: that is where a log says what went wrong.
	keptReport = 4 << 10
	// reportBurst and reportEvery bound the reports of one address: so many at once, then one in so much time.
	reportBurst = 20
	reportEvery = time.Second
	// maxReporters is the number of addresses whose reports are counted.
	maxReporters = 16384
)

var reportStages = map[string]event.Stage{"booted": event.Booted, "failed": event.Failed, "progress": event.Progress}

// report takes in what a machine says of itself: POST /v1/report?mac=…&state=booted|failed|progress with a text. It is believed as far as
// anything is on this listener: the machine is the one that the query names, so a report informs people and decides nothing.
func (s *Server) report(x *exchange) {
	if x.r.Method != http.MethodPost {
		x.w.Header().Set("Allow", http.MethodPost)
		x.refuse(http.StatusMethodNotAllowed, "405 method not allowed: reports are posted\n")
		return
	}
	if !s.reports.allow(x.peer.Addr(), x.began) {
		x.refuse(http.StatusTooManyRequests, "429 too many reports\n")
		return
	}
	stage, ok := reportStages[x.labels["state"]]
	if !ok {
		x.refuse(http.StatusBadRequest, "400 bad request: state is none of booted, failed, progress\n")
		return
	}
	if x.mac == "" {
		x.refuse(http.StatusBadRequest, "400 bad request: neither mac nor uuid nor your address tells which machine this is\n")
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(x.w, x.r.Body, maxReport))
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		x.refuse(http.StatusRequestEntityTooLarge, "413 content too large: a report has at most 65536 bytes\n")
		return
	case err != nil:
		x.refuse(http.StatusBadRequest, "400 bad request: the report did not arrive whole\n")
		return
	}
	e := event.Event{Stage: stage, Message: reportText(body, "the machine reports: "+x.labels["state"]), Bytes: int64(len(body))}
	if stage == event.Failed {
		e.Level = event.Alarm
	}
	x.record(e)
	x.w.WriteHeader(http.StatusNoContent)
}

// reportText makes a report fit for a terminal and a log: valid UTF-8 without control characters but line breaks and tabs.
func reportText(body []byte, empty string) string {
	if len(body) > keptReport {
		body = body[len(body)-keptReport:]
	}
	text := strings.Map(func(r rune) rune {
		if r < 0x20 && r != '\n' && r != '\t' || r == 0x7f || r >= 0x80 && r < 0xa0 {
			return -1
		}
		return r
	}, strings.ToValidUTF8(string(body), ""))
	if text = strings.TrimSpace(text); text == "" {
		return empty
	}
	return text
}

// limiter is a token bucket per address.
type limiter struct {
	burst int
	every time.Duration

	mu    sync.Mutex
	peers map[netip.Addr]bucket
}

type bucket struct {
	tokens float64
	at     time.Time
}

func newLimiter(burst int, every time.Duration) *limiter {
	return &limiter{burst: burst, every: every, peers: map[netip.Addr]bucket{}}
}

// allow takes a token of the address at the given time, if it has one.
func (l *limiter) allow(addr netip.Addr, now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	b, known := l.peers[addr]
	if !known {
		l.makeRoomLocked(now)
		b = bucket{tokens: float64(l.burst), at: now}
	}
	b.tokens = min(float64(l.burst), b.tokens+float64(now.Sub(b.at))/float64(l.every))
	b.at = now
	allowed := b.tokens >= 1
	if allowed {
		b.tokens--
	}
	l.peers[addr] = b
	return allowed
}

// makeRoomLocked forgets addresses whose bucket is full again and, if that is not enough, any.
func (l *limiter) makeRoomLocked(now time.Time) {
	if len(l.peers) < maxReporters {
		return
	}
	for addr, b := range l.peers {
		if now.Sub(b.at) > time.Duration(l.burst)*l.every {
			delete(l.peers, addr)
		}
	}
	for addr := range l.peers {
		if len(l.peers) < maxReporters {
			return
		}
		delete(l.peers, addr)
	}
}
