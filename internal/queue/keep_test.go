package queue_test

import (
	"context"
	"math"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/tgfleet/tgfleet/internal/localservers"
	"github.com/tgfleet/tgfleet/internal/queue"
	"github.com/tgfleet/tgfleet/internal/queue/queuetest"
	"github.com/tgfleet/tgfleet/internal/seal"
)

func TestTasksThatNobodyWorksOnArePutBack(t *testing.T) {
	t.Parallel()
	const pending, active, lease = "asynq:{ingest-0}:pending", "asynq:{ingest-0}:active", "asynq:{ingest-0}:lease"
	for name, abandon := range map[string]func(t *testing.T, f *fixture) (crashes int){
		"active": func(t *testing.T, f *fixture) int {
			id := f.raw.LMove(t.Context(), pending, active, "RIGHT", "LEFT").Val()
			// The lease is good for long: asynq would wait for it.
			until := float64(time.Now().Add(time.Hour).Unix())
			require.NoError(t, f.raw.ZAdd(t.Context(), lease, redis.Z{Member: id, Score: until}).Err())
			return 1
		},
		"active, without a lease": func(t *testing.T, f *fixture) int {
			require.NoError(t, f.raw.LMove(t.Context(), pending, active, "RIGHT", "LEFT").Err())
			return 1
		},
		"archived": func(t *testing.T, f *fixture) int {
			id := f.raw.RPop(t.Context(), pending).Val()
			now := float64(time.Now().Unix())
			require.NoError(t, f.raw.ZAdd(t.Context(), "asynq:{ingest-0}:archived", redis.Z{Member: id, Score: now}).Err())
			return 0
		},
		"lost": func(t *testing.T, f *fixture) int {
			require.NoError(t, f.raw.Del(t.Context(), pending).Err())
			return 0
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := setup(t, localservers.RedisOptions{})
			f.put(t, "abandoned")
			crashes := abandon(t, f)
			delivery := take(t, f)
			require.Equal(t, "abandoned", delivery.Payload)
			require.Equal(t, crashes, delivery.Crashes)
		})
	}
}

func TestLostTaskIsFoundWhileYoungerOnesWait(t *testing.T) {
	t.Parallel()
	f := setup(t, localservers.RedisOptions{})
	const pending, paused = "asynq:{ingest-0}:pending", "asynq:{ingest-0}:paused"
	require.NoError(t, f.raw.Set(t.Context(), paused, 1, 0).Err())
	f.put(t, "abandoned")
	id := f.raw.RPop(t.Context(), pending).Val()
	f.put(t, "younger")
	got := make(chan string, 2)
	queuetest.Run(t, f.client.Serve(queuetest.Serving(collect(got))))

	require.Eventually(t, func() bool { return f.raw.LIndex(t.Context(), pending, -1).Val() == id }, queuetest.Within, 10*time.Millisecond)

	require.EqualValues(t, 2, f.raw.LLen(t.Context(), pending).Val())
	require.NoError(t, f.raw.Del(t.Context(), paused).Err())
	require.Equal(t, "abandoned", queuetest.Receive(t, got), "it is the next one")
	require.Equal(t, "younger", queuetest.Receive(t, got))
}

func TestTaskOfALiveWorkerIsNotPutBack(t *testing.T) {
	t.Parallel()
	f := setup(t, localservers.RedisOptions{})
	f.put(t, "long")
	other := queuetest.Open(t, seal.Secret(f.redis.URL()), queue.Options{})
	got, finish := make(chan string, 2), make(chan struct{})
	handler := func(_ context.Context, d *queue.Delivery[string]) error {
		got <- d.Payload
		<-finish
		return nil
	}
	queuetest.Run(t, f.client.Serve(queuetest.Serving(handler)))
	queuetest.Run(t, other.Serve(queuetest.Serving(handler)))
	require.Equal(t, "long", queuetest.Receive(t, got))
	select {
	case <-got:
		require.FailNow(t, "the task was given to a second worker")
	case <-time.After(25 * time.Second):
	}
	close(finish)
	require.Eventually(t, func() bool { return f.depth(t) == queue.Depth{} }, queuetest.Within, 10*time.Millisecond)
}

func TestTaskOfADeadWorkerComesBackAsACrash(t *testing.T) {
	t.Parallel()
	f := setup(t, localservers.RedisOptions{})
	f.put(t, "orphan")
	// What a worker that died a while ago leaves behind: an active task whose lease ran out.
	id := f.raw.LMove(t.Context(), "asynq:{ingest-0}:pending", "asynq:{ingest-0}:active", "RIGHT", "LEFT").Val()
	past := time.Now().Add(-time.Hour).Unix()
	require.NoError(t, f.raw.ZAdd(t.Context(), "asynq:{ingest-0}:lease", redis.Z{Member: id, Score: float64(past)}).Err())

	delivery := take(t, f)

	require.Equal(t, "orphan", delivery.Payload)
	require.Equal(t, id, delivery.ID)
	require.Equal(t, 1, delivery.Crashes)
}

func TestTaskOfUnknownTypeWaitsForAHandler(t *testing.T) {
	t.Parallel()
	f := setup(t, localservers.RedisOptions{})
	newer := queuetest.Text
	newer.Task = "text of a newer version"
	require.NoError(t, queue.Put(t.Context(), f.client, newer, "kept"))
	stop := queuetest.Run(t, f.client.Serve(queuetest.Serving(collect(nil))))
	require.Eventually(t, func() bool { return f.depth(t) == queue.Depth{Retry: 1} }, queuetest.Within, 10*time.Millisecond)
	require.NoError(t, stop())

	got := make(chan string, 1)
	cfg := queuetest.Serving(collect(got))
	cfg.Handlers = []queue.Handler{queue.Handle(newer, collect(got))}
	queuetest.Run(t, f.client.Serve(cfg))
	require.Equal(t, "kept", queuetest.Receive(t, got))
}

func TestTaskIsNeverGivenUpByAsynq(t *testing.T) {
	t.Parallel()
	f := setup(t, localservers.RedisOptions{})
	f.put(t, "kept")
	id := f.raw.LIndex(t.Context(), "asynq:{ingest-0}:pending", 0).Val()
	task, err := asynq.NewInspectorFromRedisClient(f.raw).GetTaskInfo("ingest-0", id)
	require.NoError(t, err)
	require.Equal(t, math.MaxInt32, task.MaxRetry)
	require.Equal(t, 10*time.Minute, task.Timeout)
	require.True(t, task.Deadline.IsZero())
}

func TestQueuesBeyondTheConfiguredNumberAreServedToo(t *testing.T) {
	t.Parallel()
	f := setup(t, localservers.RedisOptions{})
	wider := queuetest.Open(t, seal.Secret(f.redis.URL()), queue.Options{Shards: map[queue.Class]int{queuetest.Text.Class: 3}})
	want := []string{"a", "b", "c"}
	for _, payload := range want {
		require.NoError(t, queue.Put(t.Context(), wider, queuetest.Text, payload))
	}
	got := make(chan string, len(want))
	queuetest.Run(t, f.client.Serve(queuetest.Serving(collect(got))))
	var arrived []string
	for range want {
		arrived = append(arrived, queuetest.Receive(t, got))
	}
	require.ElementsMatch(t, want, arrived)
}
