package queue_test

import (
	"log/slog"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/tgfleet/tgfleet/internal/lifecycle"
	"github.com/tgfleet/tgfleet/internal/localservers"
	"github.com/tgfleet/tgfleet/internal/localservers/localtest"
	"github.com/tgfleet/tgfleet/internal/queue"
	"github.com/tgfleet/tgfleet/internal/queue/embedded"
	"github.com/tgfleet/tgfleet/internal/queue/queuetest"
	"github.com/tgfleet/tgfleet/internal/seal"
)

// watch is a client whose log and metrics a test reads.
type watch struct {
	fixture
	log logged
}

func watched(t *testing.T, address seal.Secret) *watch {
	t.Helper()
	w := &watch{fixture: fixture{puts: prometheus.NewRegistry()}}
	w.client = queuetest.Open(t, address, queue.Options{
		Log:        slog.New(slog.NewTextHandler(&w.log, &slog.HandlerOptions{Level: slog.LevelInfo})),
		Registerer: w.puts,
	})
	return w
}

// requireUnsafe looks at Redis, and requires that these settings and no others are told to be unsafe.
func (w *watch) requireUnsafe(t *testing.T, settings ...string) {
	t.Helper()
	_, err := w.client.MemoryUsed(t.Context())
	require.NoError(t, err)
	const name = "tgfleet_queue_redis_unsafe setting="
	want := map[string]float64{name + "appendonly": 0, name + "maxmemory-policy": 0, name + "min-replicas-to-write": 0}
	for _, setting := range settings {
		want[name+setting] = 1
	}
	got := w.scrape(t)
	for series, value := range want {
		require.Contains(t, got, series)
		require.InDelta(t, value, got[series], 0, series)
	}
}

func TestSettingsThatLoseTasksAreTold(t *testing.T) {
	t.Parallel()
	server := localtest.Redis(t, localservers.RedisOptions{AppendOnly: true})
	raw := redis.NewClient(&redis.Options{Addr: server.Addr()})
	t.Cleanup(func() { require.NoError(t, raw.Close()) })
	w := watched(t, seal.Secret(server.URL()))
	w.requireUnsafe(t)
	require.Empty(t, w.log.String(), "one Redis has no replicas to insist on")

	require.NoError(t, raw.ConfigSet(t.Context(), "maxmemory-policy", "allkeys-lru").Err())
	w.requireUnsafe(t, "maxmemory-policy")
	require.NoError(t, raw.ConfigSet(t.Context(), "appendonly", "no").Err())
	w.requireUnsafe(t, "maxmemory-policy", "appendonly")
	w.requireUnsafe(t, "maxmemory-policy", "appendonly")
	require.Equal(t, 2, countLines(w.log.String(), "level=WARN"), "each change once")
	require.Contains(t, w.log.String(), `level=WARN msg="redis may lose updates that were accepted" setting=appendonly set_to=yes `+
		`otherwise="a restart of Redis loses every update in the queues"`)

	require.NoError(t, raw.ConfigSet(t.Context(), "appendonly", "yes").Err())
	require.NoError(t, raw.ConfigSet(t.Context(), "maxmemory-policy", "noeviction").Err())
	w.requireUnsafe(t)
	require.Equal(t, 2, countLines(w.log.String(), `msg="setting of redis is right now"`))
}

func TestMemoryThatRedisUsesIsShown(t *testing.T) {
	t.Parallel()
	f := setup(t, localservers.RedisOptions{Args: []string{"--maxmemory", "64mb"}})
	used, err := f.client.MemoryUsed(t.Context())
	require.NoError(t, err)
	require.Positive(t, used)
	require.Less(t, used, 0.5)
	require.InDelta(t, used, f.scrape(t)["tgfleet_queue_redis_memory_used_ratio"], 0)
}

func TestRedisThatTellsNothingIsNotBlamed(t *testing.T) {
	t.Parallel()
	server, err := embedded.Start()
	require.NoError(t, err)
	queuetest.Run(t, lifecycle.Service{Name: "embedded redis", Run: server.Run})
	w := watched(t, server.URL())
	w.requireUnsafe(t)
	w.requireUnsafe(t)
	require.Equal(t, 0, countLines(w.log.String(), "level=WARN"))
	require.Equal(t, 2, countLines(w.log.String(), `level=INFO msg="redis does not tell a setting"`), "each once")
}

// countLines returns how many lines of a log hold text.
func countLines(log, text string) (count int) {
	for line := range strings.Lines(log) {
		if strings.Contains(line, text) {
			count++
		}
	}
	return count
}
