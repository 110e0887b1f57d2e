package queue

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// FuzzWaitingSince takes any id that a task in Redis may have. One that tells a time sorts among others as the times do.
func FuzzWaitingSince(f *testing.F) {
	f.Add(newTaskID(time.UnixMilli(1789345201123)), newTaskID(time.UnixMilli(0)))
	f.Add("b1a3c3a0-7c3e-4f5e-9d0a-0a1b2c3d4e5f", strings.Repeat("V", 26))
	f.Add("000000\r0000000000000000000", "0")
	f.Add(strings.Repeat("0", 25)+"V", strings.Repeat("0", 26))
	f.Fuzz(func(t *testing.T, id, other string) {
		since, ok := waitingSince(id)
		if !ok {
			require.Zero(t, since)
			return
		}
		require.Equal(t, newTaskID(since)[:9], id[:9])
		if later, ok := waitingSince(other); ok && since.Before(later) {
			require.Less(t, id, other)
		}
	})
}
