package simulator

import (
	"context"
	"math/rand/v2"
	"time"
)

// Clock is the time that the simulator lives in. Any number of goroutines may call it. A clock of a test may run faster than
// the real one; it must not stand still while the simulator works.
type Clock interface {
	// Now returns the time.
	Now() time.Time
	// AfterFunc calls f on a goroutine of its own once d has passed. stop keeps a call that has not started from starting.
	AfterFunc(d time.Duration, f func()) (stop func() bool)
}

// standardClock is the clock of the process, and inside a testing/synctest bubble the bubble's.
type standardClock struct{}

func (standardClock) Now() time.Time { return time.Now() }

func (standardClock) AfterFunc(d time.Duration, f func()) (stop func() bool) {
	return time.AfterFunc(d, f).Stop
}

// sleep waits for d or for the end of ctx, and reports whether d has passed.
func sleep(ctx context.Context, clock Clock, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	over := make(chan struct{})
	stop := clock.AfterFunc(d, func() { close(over) })
	defer stop()
	select {
	case <-over:
		return true
	case <-ctx.Done():
		return false
	}
}

// The streams of chance, apart from one another so that, for one, the number of retries does not change the traffic.
const (
	deliveryStream uint64 = iota + 1
	trafficStream
	updateIDStream
)

func newRandom(seed, stream uint64) *rand.Rand {
	return rand.New(rand.NewPCG(seed, stream))
}
