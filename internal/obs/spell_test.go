package obs_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tgfleet/tgfleet/internal/obs"
)

func TestSpellIsToldWhenItBeginsOnceAMinuteAndWhenItEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var s obs.Spell
		note := func(met bool, wantTell bool, wantLasted time.Duration) {
			t.Helper()
			tell, lasted := s.Note(met)
			require.Equal(t, wantTell, tell)
			require.Equal(t, wantLasted, lasted)
		}
		for range 2 {
			note(false, false, 0)
			note(true, true, 0)
			for second := range 59 {
				<-time.After(time.Second)
				note(true, false, time.Duration(second+1)*time.Second)
			}
			<-time.After(time.Second)
			note(true, true, time.Minute)
			<-time.After(time.Second)
			note(true, false, time.Minute+time.Second)
			<-time.After(time.Second)
			note(false, true, time.Minute+2*time.Second)
			note(false, false, 0)
		}
	})
}
