package queue

import (
	"crypto/rand"
	"encoding/base32"
	"encoding/binary"
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
	binary.BigEndian.PutUint64(milliseconds[:], uint64(max(0, since.UnixMilli()))) //nolint:gosec // it is not negative
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
	if _, err := taskIDText.Decode(decoded[:], []byte(id)); err != nil {
		return time.Time{}, false
	}
	var milliseconds [8]byte
	copy(milliseconds[2:], decoded[:6])
	return time.UnixMilli(int64(binary.BigEndian.Uint64(milliseconds[:]))), true //nolint:gosec // 48 bits
}
