// Package pause gives the waits of loops that try again: with an end when a context ends, growing from one failure to the next, and
// spread so that many that failed together do not come back together.
package pause

import (
	"context"
	"math/rand/v2"
	"time"
)

// Backoff is a pause that doubles from Least to Most. It belongs to one goroutine.
type Backoff struct {
	Least, Most time.Duration
	last        time.Duration
}

// Next returns the next pause, spread.
func (b *Backoff) Next() time.Duration {
	b.last = min(max(2*b.last, b.Least), b.Most)
	return Spread(b.last)
}

// Reset lets the next pause be the least again.
func (b *Backoff) Reset() { b.last = 0 }

// Spread returns something between d and a quarter more.
func Spread(d time.Duration) time.Duration {
	return d + rand.N(d/4+1) //nolint:gosec // chance, not secrecy
}

// For waits for d or for the end of ctx, and reports whether d has passed.
func For(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
