package tasks

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tgfleet/tgfleet/internal/fault"
)

func TestPausesGrowWithAnOutageAndEndWithIt(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var o outage
		away := fault.As(fault.Transient, errors.New("away"))
		previous := time.Duration(0)
		for range 12 {
			o.note(away)
			<-time.After(16 * time.Second)
			pause := o.pause()
			require.LessOrEqual(t, pause, longestPause)
			require.GreaterOrEqual(t, pause, previous/2, "spread, and growing")
			previous = pause
		}
		require.GreaterOrEqual(t, previous, longestPause/2)
		o.note(nil)
		require.LessOrEqual(t, o.pause(), firstPause)
	})
}

func TestFailuresAtTheSameTimeAreOneObservation(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var o outage
		for range 100 {
			o.note(fault.As(fault.Transient, errors.New("away")))
		}
		require.LessOrEqual(t, o.pause(), 2*firstPause)
	})
}

func TestRefusedContentIsNoOutage(t *testing.T) {
	t.Parallel()
	var o outage
	for range 10 {
		o.note(fault.As(fault.Permanent, errors.New("refused")))
	}
	require.LessOrEqual(t, o.pause(), firstPause)
}
