package queue

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestTaskIDTellsSinceWhenItsPayloadWaits(t *testing.T) {
	t.Parallel()
	var ids []string
	for _, since := range []time.Time{
		time.UnixMilli(0), time.Date(2026, 11, 20, 23, 59, 59, 999e6, time.UTC), time.Date(2126, 1, 1, 0, 0, 0, 1e6, time.UTC),
	} {
		for range 2 {
			id := newTaskID(since)
			ids = append(ids, id)
			told, ok := waitingSince(id)
			require.True(t, ok)
			require.True(t, since.Equal(told), "%s: %s", id, told)
		}
	}
	require.True(t, slices.IsSorted([]string{ids[0], ids[2], ids[4]}), "they sort by that time")
	require.Len(t, slices.Compact(slices.Sorted(slices.Values(ids))), len(ids), "each is another")

	early, ok := waitingSince(newTaskID(time.Time{}))
	require.True(t, ok)
	require.Equal(t, time.UnixMilli(0), early, "there is nothing before 1970")
	for _, foreign := range []string{"", "4c2dc2a1-9a1b-4a9b-8f8f-2f5f4e3a1b2c", ids[0] + "0", "z" + ids[0][1:]} {
		_, ok := waitingSince(foreign)
		require.False(t, ok, foreign)
	}
}
