package polling

import (
	"context"
	"math/rand/v2"
	"time"
)

// backoff is a pause that doubles from least to most, spread so that many bots do not come back at once.
type backoff struct {
	least, most time.Duration
	last        time.Duration
}

func (b *backoff) next() time.Duration {
	b.last = min(max(2*b.last, b.least), b.most)
	return spread(b.last)
}

func (b *backoff) reset() { b.last = 0 }

// spread returns something between d and a quarter more.
func spread(d time.Duration) time.Duration {
	return d + rand.N(d/4+1) //nolint:gosec // chance, not secrecy
}

// wait waits for d or for the end of ctx, and reports whether d has passed.
func wait(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
