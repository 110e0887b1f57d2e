package obs_test

import (
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"github.com/tgfleet/tgfleet/internal/obs"
)

func TestAThingStandsInOneStateAtATime(t *testing.T) {
	t.Parallel()
	gauge := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "things"}, []string{"state"})
	count := func(state string) float64 { return testutil.ToFloat64(gauge.WithLabelValues(state)) }
	one, other := obs.NewStanding(gauge, "idle"), obs.NewStanding(gauge, "idle")
	require.InDelta(t, 2, count("idle"), 0)
	one.Set("busy")
	one.Set("busy")
	require.InDelta(t, 1, count("idle"), 0)
	require.InDelta(t, 1, count("busy"), 0)
	one.Leave()
	one.Leave()
	other.Leave()
	require.Zero(t, count("idle")+count("busy"))
	one.Set("busy")
	require.InDelta(t, 1, count("busy"), 0)
}
