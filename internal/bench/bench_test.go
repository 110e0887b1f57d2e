//go:build !race

package bench_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/tgfleet/tgfleet/internal/bench"
)

// beDataCentre is set for the process of this very program that is the data centre.
const beDataCentre = "TGFLEET_TEST_DATA_CENTRE"

// Accounts sign in side by side, which is where gotd's tgtest has a data race.
func TestMain(m *testing.M) {
	if os.Getenv(beDataCentre) == "" {
		goleak.VerifyTestMain(m)
		return
	}
	if err := bench.ServeDataCentre(context.Background(), os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func listener(t *testing.T, only ...string) bench.Listener {
	t.Helper()
	return bench.Listener{
		Only: only, Accounts: 3, Channels: 20, Updates: 500, Outage: bench.OutagePlan{Lasts: 2 * time.Second, Rate: 1000},
		Profiles: t.TempDir(),
		DataCentre: func(ctx context.Context) *exec.Cmd {
			cmd := exec.CommandContext(ctx, os.Args[0])
			cmd.Env = append(os.Environ(), beDataCentre+"=1")
			cmd.Stderr = os.Stderr
			return cmd
		},
		Say: func(what string) { t.Log(what) },
	}
}

// The sizes are far too small to say anything about the machine: that there are figures is what counts, and those that hold everywhere.
func TestAListenerIsMeasured(t *testing.T) {
	t.Parallel()
	b := listener(t, bench.Measurements...)
	figures, err := b.Run(t.Context())
	require.NoError(t, err)
	targets, value := map[string]int{}, map[string]float64{}
	for _, f := range figures {
		t.Logf("%+v", f)
		value[f.Measurement+": "+f.Name] = f.Value
		if f.IsTarget() {
			targets[f.Measurement]++
		}
	}
	require.Equal(t, map[string]int{bench.Accounts: 1, bench.Channels: 1, bench.Speed: 1, bench.Outage: 2}, targets)
	require.Positive(t, value["speed: pushes into the sink for each second of one core"])
	require.Positive(t, value["speed: limit: decrypting, reading and writing the same TL"])
	require.Zero(t, value["speed: pushes dropped before the sink"], "no more is on its way than there is room for")
	require.InDelta(t, 2000, value["outage: messages"], 0)
	require.Positive(t, value["outage: pushes dropped before the sink"], "the outage was too short to drop anything: it proves nothing")
	require.Zero(t, value["outage: messages lost"])
	for _, name := range []string{"accounts.heap", "channels.heap", "speed.cpu", "outage.heap"} {
		require.FileExists(t, b.Profiles+"/"+name+".pprof")
	}
}

func TestAnUnknownMeasurementIsRefused(t *testing.T) {
	t.Parallel()
	b := listener(t, "weather")
	_, err := b.Run(t.Context())
	require.ErrorContains(t, err, `"weather" is no measurement: want some of [accounts channels speed outage]`)
}
