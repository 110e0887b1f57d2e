package queue_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/stretchr/testify/require"

	"github.com/tgfleet/tgfleet/internal/fault"
	"github.com/tgfleet/tgfleet/internal/localservers"
	"github.com/tgfleet/tgfleet/internal/queue"
	"github.com/tgfleet/tgfleet/internal/queue/queuetest"
	"github.com/tgfleet/tgfleet/internal/seal"
)

// putAged puts a payload that has been waiting for some time.
func (f *fixture) putAged(t *testing.T, payload string, waiting time.Duration) {
	t.Helper()
	aged := queuetest.Text
	aged.Since = func(string) time.Time { return time.Now().Add(-waiting) }
	require.NoError(t, queue.Put(t.Context(), f.client, aged, payload))
}

func requireOldest(t *testing.T, client *queue.Client, about time.Duration) {
	t.Helper()
	depth, err := client.Depth(t.Context(), queuetest.Text.Class)
	require.NoError(t, err)
	require.InDelta(t, about, depth.Oldest, float64(queuetest.Within))
}

func TestAgeOfTheOldestPayloadIsKnownWhereverItsTaskIs(t *testing.T) {
	t.Parallel()
	f := setup(t, localservers.RedisOptions{})
	// Each look is that of a process that remembers nothing.
	requireOldest := func(about time.Duration) {
		t.Helper()
		requireOldest(t, queuetest.Open(t, seal.Secret(f.redis.URL()), queue.Options{}), about)
	}
	f.putAged(t, "old", time.Hour)
	f.put(t, "young")
	requireOldest(time.Hour)

	taken := make(chan struct{})
	cfg := queuetest.Serving(func(ctx context.Context, d *queue.Delivery[string]) error {
		if d.Payload == "young" {
			return fault.Throttle(time.Hour, errors.New("later"))
		}
		taken <- struct{}{}
		select {
		case taken <- struct{}{}:
			return fault.Throttle(time.Hour, errors.New("later"))
		case <-ctx.Done():
			return ctx.Err()
		}
	})
	cfg.Drain = time.Second
	stop := queuetest.Run(t, f.client.Serve(cfg))
	queuetest.Receive(t, taken)
	require.Equal(t, queue.Depth{Active: 1, Pending: 1}, f.depth(t))
	requireOldest(time.Hour)
	require.NoError(t, stop())
	require.Equal(t, queue.Depth{Pending: 2}, f.depth(t), "handed back")
	requireOldest(time.Hour)

	queuetest.Run(t, f.client.Serve(cfg))
	queuetest.Receive(t, taken)
	queuetest.Receive(t, taken)
	require.Eventually(t, func() bool { return f.depth(t) == queue.Depth{Retry: 2} }, queuetest.Within, 10*time.Millisecond)
	requireOldest(time.Hour)
	require.NoError(t, f.raw.FlushAll(t.Context()).Err())
	depth, err := f.client.Depth(t.Context(), queuetest.Text.Class)
	require.NoError(t, err)
	require.Zero(t, depth.Oldest, "nothing waits")
}

func TestTaskOfBeforeIDsToldHasNoAge(t *testing.T) {
	t.Parallel()
	f := setup(t, localservers.RedisOptions{})
	_, err := asynq.NewClientFromRedisClient(f.raw).Enqueue(asynq.NewTask("text", nil), asynq.Queue("ingest-0"))
	require.NoError(t, err)
	depth, err := f.client.Depth(t.Context(), queuetest.Text.Class)
	require.NoError(t, err)
	require.Equal(t, queue.Depth{Pending: 1}, depth)
	f.putAged(t, "old", time.Hour)
	requireOldest(t, f.client, time.Hour)
}

func TestOldestTaskIsNotForgottenInTheMiddleOfALongList(t *testing.T) {
	t.Parallel()
	const pending = "asynq:{ingest-0}:pending"
	f := setup(t, localservers.RedisOptions{})
	f.putAged(t, "old", time.Hour)
	requireOldest(t, f.client, time.Hour)
	ids := make([]any, 6000)
	for i := range ids {
		ids[i] = "no id of ours"
	}
	require.NoError(t, f.raw.LPush(t.Context(), pending, ids...).Err())
	require.NoError(t, f.raw.RPush(t.Context(), pending, ids...).Err())
	requireOldest(t, f.client, time.Hour)

	id := f.raw.LIndex(t.Context(), pending, 6000).Val()
	require.NoError(t, f.raw.Del(t.Context(), "asynq:{ingest-0}:t:"+id).Err())
	requireOldest(t, f.client, 0)
}

func TestAgeGrowsOnWhileRedisIsAway(t *testing.T) {
	t.Parallel()
	f := setup(t, localservers.RedisOptions{})
	told := func() (age float64, names []string) {
		families, err := f.puts.Gather()
		require.NoError(t, err)
		for _, family := range families {
			names = append(names, family.GetName())
			if family.GetName() == "tgfleet_queue_oldest_age_seconds" {
				age = family.GetMetric()[0].GetGauge().GetValue()
			}
		}
		return age, names
	}
	f.putAged(t, "old", time.Hour)
	before, _ := told()
	require.InDelta(t, 3600, before, queuetest.Within.Seconds())
	require.NoError(t, f.redis.Kill())
	for range 3 {
		age, names := told()
		require.Greater(t, age, before)
		require.False(t, slices.Contains(names, "tgfleet_queue_depth"), "what can't be seen is not told")
		before = age
	}
}
