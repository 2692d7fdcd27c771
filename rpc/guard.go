package rpc

import (
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
)

const (
	// sendTime is how long one message of a stream may wait for its client to read.
	sendTime = 30 * time.Second
	// ReasonSlow is the reason of a stream whose client did not read.
	ReasonSlow = "SLOW_READER"
)

// errSlow cuts off a client that does not read.
func errSlow(why string) error {
	return newStatus(codes.ResourceExhausted, ReasonSlow, "cut off: "+why+"; read faster, or begin again").Err()
}

// guarded runs a stream whose every message must be taken within limit. Nothing interrupts a Send that waits for its client but the end of the
// stream, which is when its handler returns: so run works beside the handler, which returns without it when a message takes too long. What run
// waits for must end with the stream's context; that is soon, and with an error from send.
func guarded[M any](stream grpc.ServerStreamingServer[M], limit time.Duration, run func(send func(*M) error) error) error {
	var since atomic.Int64 // when the message under way began, Unix nanoseconds; 0: none is
	send := func(message *M) error {
		since.Store(time.Now().UnixNano())
		defer since.Store(0)
		return stream.Send(message)
	}
	type outcome struct {
		err   error
		panic any
	}
	ended := make(chan outcome, 1)
	go func() {
		var o outcome
		defer func() {
			o.panic = recover()
			ended <- o
		}()
		o.err = run(send)
	}()
	ticker := time.NewTicker(max(limit/8, time.Millisecond))
	defer ticker.Stop()
	for {
		select {
		case o := <-ended:
			if o.panic != nil {
				panic(o.panic) // for the interceptor, which is above this goroutine only
			}
			return o.err
		case now := <-ticker.C:
			if began := since.Load(); began != 0 && now.UnixNano()-began > int64(limit) {
				return errSlow("a message was not read for " + limit.String())
			}
		}
	}
}
