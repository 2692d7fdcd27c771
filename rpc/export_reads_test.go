package rpc

import "time"

// WithSendTime returns parts whose streams cut off a client after the given time.
func (p ReadParts) WithSendTime(d time.Duration) ReadParts {
	p.sendTime = d
	return p
}

// ParseTimelineToken is parseTimelineToken, for tests; it returns the token written anew.
func ParseTimelineToken(token string) (string, error) {
	t, err := parseTimelineToken(token)
	return t.String(), err
}
