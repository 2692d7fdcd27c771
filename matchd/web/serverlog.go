package web

import (
	"context"
	"log/slog"
	"strings"
)

// How net/http begins its lines (server.go; tested against its own words).
const (
	handshakeFailed = "http: TLS handshake error from " // the client's address and the error follow
	acceptFailed    = "http: Accept error"
	panicked        = "http: panic"
)

// serverLog is where net/http writes what no handler hears of. Most of it is clients that went away, for whom debugging is loud enough; a listener
// that takes nobody in, and a panic, are not.
type serverLog struct {
	log *slog.Logger
	// broken is told of TLS handshakes that failed; nil: there is no TLS.
	broken func(from, reason string)
}

func (l serverLog) Write(line []byte) (int, error) {
	text := strings.TrimSpace(string(line))
	level := slog.LevelDebug
	if strings.HasPrefix(text, acceptFailed) || strings.HasPrefix(text, panicked) {
		level = slog.LevelError
	}
	l.log.Log(context.Background(), level, text)
	if rest, ok := strings.CutPrefix(text, handshakeFailed); ok && l.broken != nil {
		if from, reason, found := strings.Cut(rest, ": "); found {
			l.broken(from, reason)
		}
	}
	return len(line), nil
}
