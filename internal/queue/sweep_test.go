package queue

import (
	"log/slog"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
)

func TestTaskHasLostItsOwnerOnlyAfterLooksInGoodOrder(t *testing.T) {
	t.Parallel()
	client := startRedis(t)
	const lease, list = "asynq:{ingest-0}:lease", "asynq:workers:{somebody}"
	task := taskName{"ingest-0", "a"}
	long := time.Now().Add(-time.Minute)
	require.NoError(t, client.LPush(t.Context(), "asynq:{ingest-0}:active", task.id).Err())
	require.NoError(t, client.ZAdd(t.Context(), lease, redis.Z{Member: task.id, Score: 100}).Err())

	for name, c := range map[string]struct {
		// before is how the task was seen on the look before, at the time looked.
		before sighting
		looked time.Time
		owner  bool
		silent bool
	}{
		"no sign of life":           {sighting{100, true, long}, time.Now(), false, true},
		"never seen before":         {sighting{}, time.Now(), false, false},
		"seen a moment ago":         {sighting{100, true, time.Now()}, time.Now(), false, false},
		"the lease was renewed":     {sighting{70, true, long}, time.Now(), false, false},
		"the lease has come":        {sighting{0, false, long}, time.Now(), false, false},
		"an owner names it":         {sighting{100, true, long}, time.Now(), true, false},
		"nobody looked for a while": {sighting{100, true, long}, long, false, false},
	} {
		s := newSweeper(client, ServerConfig{}, slog.New(slog.DiscardHandler), nil)
		s.looked = c.looked
		if c.before != (sighting{}) {
			s.active[task] = c.before
		}
		if c.owner {
			// The owner's clock is a minute behind ours.
			require.NoError(t, client.ZAdd(t.Context(), "asynq:workers", redis.Z{Member: list, Score: float64(long.Unix())}).Err())
			require.NoError(t, client.HSet(t.Context(), list, task.id, "x").Err())
		}
		silent, err := s.silent(t.Context(), []string{task.queue})
		require.NoError(t, err)
		require.Equal(t, c.silent, len(silent) == 1, name)
		require.NoError(t, client.Del(t.Context(), "asynq:workers", list).Err())
	}
}

func TestTaskThatWasPutBackAndTakenMeanwhileIsLeftAlone(t *testing.T) {
	t.Parallel()
	client := startRedis(t)
	const active, lease, pending = "asynq:{ingest-0}:active", "asynq:{ingest-0}:lease", "asynq:{ingest-0}:pending"
	long := time.Now().Add(-time.Minute)
	for name, c := range map[string]struct {
		seen sighting
		now  []redis.Z
		left bool
	}{
		"another lease":  {sighting{100, true, long}, []redis.Z{{Member: "a", Score: 130}}, true},
		"a lease":        {sighting{0, false, long}, []redis.Z{{Member: "a", Score: 130}}, true},
		"no lease now":   {sighting{100, true, long}, nil, true},
		"the same lease": {sighting{100, true, long}, []redis.Z{{Member: "a", Score: 100}}, false},
		"no lease still": {sighting{0, false, long}, nil, false},
	} {
		require.NoError(t, client.FlushAll(t.Context()).Err())
		require.NoError(t, client.LPush(t.Context(), active, "a").Err())
		if c.now != nil {
			require.NoError(t, client.ZAdd(t.Context(), lease, c.now...).Err())
		}
		task := taskName{"ingest-0", "a"}
		require.NoError(t, client.HSet(t.Context(), taskKey(task.queue, "t:a"), "msg", ownMessage(task)).Err())
		m, err := newMetrics(nil, nil)
		require.NoError(t, err)
		metrics := m.of("ingest")
		s := newSweeper(client, ServerConfig{}, slog.New(slog.DiscardHandler), &metrics)
		s.active[task] = c.seen
		foreign, err := s.rescue(t.Context(), task)
		require.NoError(t, err)
		require.Nil(t, foreign)
		require.Equal(t, !c.left, client.LLen(t.Context(), pending).Val() == 1, name)
	}
}

// ownMessage returns the least message that stands for the task.
func ownMessage(task taskName) []byte {
	message := []byte{fieldID<<3 | wireBytes, byte(len(task.id))}
	message = append(append(message, task.id...), fieldQueue<<3|wireBytes, byte(len(task.queue)))
	return append(message, task.queue...)
}
