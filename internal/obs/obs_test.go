package obs_test

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/tgfleet/tgfleet/internal/obs"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestJSONLinesHaveUTCTimesAndSeconds(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	log := obs.NewLogger(&out, slog.LevelInfo, "json")
	east := time.FixedZone("east", 3*60*60)
	log.Debug("not shown")
	log.Info("applied", "took", 1500*time.Millisecond, "at", time.Date(2026, 1, 2, 3, 4, 5, 0, east))

	var line struct {
		Time, Msg, Level, At string
		Took                 float64
	}
	require.NoError(t, json.Unmarshal(out.Bytes(), &line), out.String())
	require.Equal(t, "applied", line.Msg)
	require.Equal(t, "INFO", line.Level)
	require.InDelta(t, 1.5, line.Took, 0)
	require.Equal(t, "2026-01-02T00:04:05Z", line.At)
	require.Regexp(t, `Z$`, line.Time)
}

func TestTextLinesHaveUTCTimes(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	log := obs.NewLogger(&out, slog.LevelDebug, "text")
	log.Debug("applied", "took", 1500*time.Millisecond)
	require.Regexp(t, `^time=\S+Z level=DEBUG msg=applied took=1\.5s\n$`, out.String())
}

func TestRegistryTellsWhatIsRunning(t *testing.T) {
	t.Parallel()
	reg := obs.NewRegistry()
	n, err := testutil.GatherAndCount(reg, "tgfleet_build_info", "go_goroutines", "process_start_time_seconds")
	require.NoError(t, err)
	require.Equal(t, 3, n)
	problems, err := testutil.GatherAndLint(reg, "tgfleet_build_info")
	require.NoError(t, err)
	require.Empty(t, problems)
}
