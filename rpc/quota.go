package rpc

import (
	"sync"
	"time"
)

// Bounds of what is logged of the refused, connections and calls each: whoever comes over and over must not fill a disk.
const (
	linesPerWindow = 20
	lineWindow     = 10 * time.Second
)

// quota is a number of lines of a log in a time.
type quota struct {
	mu     sync.Mutex
	window time.Time // when it began
	taken  int
	silent int // not taken in this window
}

// take reports whether there is a line left. With the first of a window, it tells how many lines there were not in the one before.
func (q *quota) take(now time.Time) (left bool, silent int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if now.Sub(q.window) >= lineWindow {
		silent, q.window, q.taken, q.silent = q.silent, now, 0, 0
	}
	q.taken++
	if q.taken > linesPerWindow {
		q.silent++
		return false, silent
	}
	return true, silent
}
