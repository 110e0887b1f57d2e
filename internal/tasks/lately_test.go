package tasks

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestLatelyKnowsTheEarliestTimeForAWhile(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var l lately
		require.Zero(t, l.age())
		start := time.Now()
		l.note(start.Add(-time.Hour))
		l.note(start.Add(-2 * time.Hour))
		l.note(start.Add(-time.Minute))
		require.Equal(t, 2*time.Hour, l.age())

		<-time.After(latelyWindow + time.Second)
		require.Equal(t, 2*time.Hour+latelyWindow+time.Second, l.age(), "for one window at least")
		l.note(start.Add(-3 * time.Minute))
		require.Equal(t, 2*time.Hour+latelyWindow+time.Second, l.age())

		<-time.After(latelyWindow)
		require.Equal(t, 3*time.Minute+2*latelyWindow+time.Second, l.age(), "for two at most")
		<-time.After(latelyWindow)
		require.Zero(t, l.age())
	})
}

func TestWhatIsNotedAgainAndAgainIsAlwaysInSight(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var l lately
		start := time.Now()
		for range 20 {
			l.note(start)
			<-time.After(longestPause + commitWithin)
			require.Equal(t, time.Since(start), l.age())
		}
		<-time.After(time.Hour)
		require.Zero(t, l.age())
		l.note(time.Now().Add(time.Minute))
		require.Zero(t, l.age(), "another clock may be ahead")
	})
}
