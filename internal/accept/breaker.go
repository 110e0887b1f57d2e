package accept

import (
	"sync"
	"time"
)

const (
	// restAtMost is how long a queue that fails again and again is left out, however well it does in a probe, and restFirst the
	// least of it. A queue that stutters then costs one slow flush in a while, and not every other one.
	restAtMost = 5 * time.Second
	restFirst  = 500 * time.Millisecond
	// calmAfter is how long a queue must have been used without a failure to count as well again.
	calmAfter = 10 * time.Second
)

// reason is why a store is left out; empty while it is used.
type reason string

const (
	failed reason = "failed"
	full   reason = "full"
)

// breaker says whether a store is left out. The zero breaker uses it. Any number of goroutines may use a breaker.
type breaker struct {
	mu  sync.Mutex
	out reason
	// since is when the store was left out or let in last.
	since time.Time
	// rest is for how long the store stays out at least: nothing after a time of calm, and longer each time that it fails soon
	// after it was let in.
	rest time.Duration
}

// why returns why the store is left out.
func (b *breaker) why() reason {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.out
}

// leaveOut leaves the store out and reports whether it was used until now.
func (b *breaker) leaveOut(why reason) (news bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	news = b.out == ""
	switch {
	case !news:
	case b.since.IsZero(), time.Since(b.since) > calmAfter:
		b.rest = 0
	default:
		b.rest = min(max(2*b.rest, restFirst), restAtMost)
	}
	if news {
		b.since = time.Now()
	}
	b.out = why
	return news
}

// rested reports whether the store has been out for as long as it must.
func (b *breaker) rested() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return time.Since(b.since) >= b.rest
}

// letIn uses the store again.
func (b *breaker) letIn() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.out, b.since = "", time.Now()
}
