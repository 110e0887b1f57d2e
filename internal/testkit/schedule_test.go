package testkit_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tgfleet/tgfleet/internal/testkit"
)

var kinds = []testkit.Kind{"a", "b", "c", "d", "e"}

func TestASeedAlwaysGivesTheSameFaults(t *testing.T) {
	t.Parallel()
	require.Equal(t, testkit.Schedule(7, 100, kinds), testkit.Schedule(7, 100, kinds))
	require.Equal(t, testkit.Schedule(7, 100, kinds)[:30], testkit.Schedule(7, 30, kinds), "a shorter run is the beginning of a longer one")
	require.NotEqual(t, testkit.Schedule(7, 100, kinds), testkit.Schedule(8, 100, kinds))
}

func TestEveryKindComesOnceBeforeAnyComesAgain(t *testing.T) {
	t.Parallel()
	faults := testkit.Schedule(7, 3*len(kinds), kinds)
	for i := 0; i < len(faults); i += len(kinds) {
		var round []testkit.Kind
		for _, f := range faults[i : i+len(kinds)] {
			round = append(round, f.Kind)
			require.GreaterOrEqual(t, f.Lasts, 300*time.Millisecond)
			require.LessOrEqual(t, f.Lasts, 4*time.Second)
		}
		require.ElementsMatch(t, kinds, round)
	}
	require.Equal(t, 1, faults[0].Number)
	require.Equal(t, len(faults), faults[len(faults)-1].Number)
}

func TestReportTellsEachKindAndTheWhole(t *testing.T) {
	t.Parallel()
	r := testkit.Report{Seed: 7, Updates: 1000, Repeats: 3, Lost: 1, Doubled: 2}
	r.Recovered(testkit.Fault{Kind: "worker killed"}, 12*time.Second, 0)
	r.Recovered(testkit.Fault{Kind: "api killed"}, time.Second, 4)
	r.Recovered(testkit.Fault{Kind: "worker killed"}, 2*time.Second, 0)
	r.Recovered(testkit.Fault{Kind: "worker killed"}, 3*time.Second, 0)
	var text strings.Builder
	require.NoError(t, r.Write(&text))
	require.Regexp(t, `\| api killed +\| 1 +\| 4 +\| 1s +\| 1s +\|\n`, text.String())
	require.Regexp(t, `\| worker killed +\| 3 +\| 0 +\| 3s +\| 12s +\|\n`, text.String())
	require.Regexp(t, `\| all +\| 4 +\| 4 +\| 3s +\| 12s +\|\n`, text.String())
	require.Contains(t, text.String(), "seed 7: 4 faults, 1000 updates, 3 repeats; lost 1, doubled 2, refused 4")
}
