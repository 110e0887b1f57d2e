package queue

import (
	"crypto/rand"
	"encoding/base32"
	"encoding/binary"
	"sync"
	"time"
)

// A task's id begins with the time since when its payload has been waiting, so that the ages of tasks can be read from the lists of a
// queue alone: asynq's own times start afresh with each try.

// taskID is 48 bits of milliseconds since 1970 and 80 random bits, in letters and digits that sort like the bytes.
type taskID [16]byte

var taskIDText = base32.HexEncoding.WithPadding(base32.NoPadding)

// newTaskID returns an id that no other task has.
func newTaskID(since time.Time) string {
	var id taskID
	var milliseconds [8]byte
	binary.BigEndian.PutUint64(milliseconds[:], uint64(max(0, since.UnixMilli())))
	copy(id[:6], milliseconds[2:])
	_, _ = rand.Read(id[6:]) // it never fails
	return taskIDText.EncodeToString(id[:])
}

// waitingSince returns the time in an id of ours; ok is false for any other, such as the ids that asynq gives.
func waitingSince(id string) (since time.Time, ok bool) {
	var decoded taskID
	if len(id) != taskIDText.EncodedLen(len(decoded)) {
		return time.Time{}, false
	}
	// The decoder passes over line breaks, and would take an id with some for a shorter one.
	if n, err := taskIDText.Decode(decoded[:], []byte(id)); err != nil || n < len(decoded) {
		return time.Time{}, false
	}
	var milliseconds [8]byte
	copy(milliseconds[2:], decoded[:6])
	return time.UnixMilli(int64(binary.BigEndian.Uint64(milliseconds[:]))), true //nolint:gosec // 48 bits
}

// ages remembers what waits longest. Any number of goroutines may use it; the zero ages is ready for use.
type ages struct {
	mu sync.Mutex
	// longest is, for each queue, the task that was last seen to wait longest. In a list that is too long to be read as a whole it
	// may be out of sight, and waits all the same.
	longest map[string]string
	// since is since when the oldest payload of a class had been waiting when Redis last answered; zero when nothing waited.
	since map[Class]time.Time
}

// suspect returns the task of a queue that waited longest when it was looked at last; empty when there is none.
func (a *ages) suspect(queue string) string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.longest[queue]
}

// note takes in the ids that were seen in a queue and returns since when the oldest of them waits; zero when none says.
func (a *ages) note(queue string, ids []string) (oldest time.Time) {
	var longest string
	for _, id := range ids {
		if since, ok := waitingSince(id); ok && (longest == "" || since.Before(oldest)) {
			longest, oldest = id, since
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.longest == nil {
		a.longest = make(map[string]string)
	}
	a.longest[queue] = longest
	return oldest
}

// seen remembers since when the oldest payload of a class waits.
func (a *ages) seen(class Class, since time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.since == nil {
		a.since = make(map[Class]time.Time)
	}
	a.since[class] = since
}

// last returns since when the oldest payload of a class waited when Redis last answered; ok is false when it never did.
func (a *ages) last(class Class) (since time.Time, ok bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	since, ok = a.since[class]
	return since, ok
}

// age returns how long ago since was; 0 for the zero time. The clock of whoever received the payload may be ahead of ours.
func age(since time.Time) time.Duration {
	if since.IsZero() {
		return 0
	}
	return max(0, time.Since(since))
}
