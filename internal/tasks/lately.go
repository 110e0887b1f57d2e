package tasks

import (
	"sync"
	"time"
)

// latelyWindow is longer than a batch stays away between two tries, so that a batch that fails again and again is always in sight.
const latelyWindow = time.Minute

// lately remembers the earliest of the times that were noted in the last one or two windows, in constant space. The queue can't tell
// how old the tasks are that wait for another try, so whoever puts them off does. The zero lately is ready for use.
type lately struct {
	mu sync.Mutex
	// began is when the present window began. earliest belongs to it and before to the window that ended then; zero when nothing
	// was noted.
	began            time.Time
	earliest, before time.Time
}

// note takes in a time.
func (l *lately) note(t time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.turn()
	l.earliest = earlier(l.earliest, t)
}

// age returns how long ago the earliest time was; 0 when none was noted lately.
func (l *lately) age() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.turn()
	earliest := earlier(l.earliest, l.before)
	if earliest.IsZero() {
		return 0
	}
	return max(0, time.Since(earliest)) // the clock of whoever received it may be ahead of ours
}

// turn begins a new window when the present one is over.
func (l *lately) turn() {
	switch passed := time.Since(l.began); {
	case passed >= 2*latelyWindow:
		l.began, l.before, l.earliest = time.Now(), time.Time{}, time.Time{}
	case passed >= latelyWindow:
		l.began, l.before, l.earliest = l.began.Add(latelyWindow), l.earliest, time.Time{}
	}
}

// earlier returns the earlier of two times, of which the zero time is none.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
