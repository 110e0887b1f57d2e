package tasks

import (
	"math/rand/v2"
	"sync"
	"time"

	"github.com/tgfleet/tgfleet/internal/fault"
)

// An outage of the database hits every batch of a process alike, so its length is counted for the process and not for a batch.
const (
	firstPause = 200 * time.Millisecond
	// longestPause is how long a batch waits at most after the database has come back.
	longestPause = 15 * time.Second
)

// outage counts the commits that failed in a row because of the database.
type outage struct {
	mu       sync.Mutex
	failures int
	last     time.Time
}

// note takes in how a commit ended. Failures at the same time count once: they are one observation.
func (o *outage) note(err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case err == nil || fault.ClassOf(err) == fault.Permanent:
		o.failures = 0
	case time.Since(o.last) > o.step()/2:
		o.failures++
		o.last = time.Now()
	}
}

// pause returns how long to wait before the next try: it doubles with each failure in a row, and is spread so that waiting
// batches do not come back together.
func (o *outage) pause() time.Duration {
	o.mu.Lock()
	defer o.mu.Unlock()
	step := o.step()
	return step/2 + rand.N(step/2+1) //nolint:gosec // spreading needs no secrecy
}

func (o *outage) step() time.Duration {
	step := firstPause
	for range o.failures {
		if step *= 2; step >= longestPause {
			return longestPause
		}
	}
	return step
}
