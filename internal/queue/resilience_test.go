package queue_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/tgfleet/tgfleet/internal/fault"
	"github.com/tgfleet/tgfleet/internal/localservers"
	"github.com/tgfleet/tgfleet/internal/localservers/localtest"
	"github.com/tgfleet/tgfleet/internal/queue"
	"github.com/tgfleet/tgfleet/internal/queue/queuetest"
	"github.com/tgfleet/tgfleet/internal/seal"
	"github.com/tgfleet/tgfleet/internal/testkit"
)

type fixture struct {
	redis  *localservers.Redis
	raw    *redis.Client
	client *queue.Client
	puts   *prometheus.Registry
}

func setup(t testing.TB, options localservers.RedisOptions) *fixture {
	t.Helper()
	f := &fixture{redis: localtest.Redis(t, options), puts: prometheus.NewRegistry()}
	f.raw = redis.NewClient(&redis.Options{Addr: f.redis.Addr(), ContextTimeoutEnabled: true, MaxRetries: -1})
	t.Cleanup(func() { require.NoError(t, f.raw.Close()) })
	f.client = queuetest.Open(t, seal.Secret(f.redis.URL()), queue.Options{
		Registerer: f.puts, Shards: map[queue.Class]int{queuetest.Text.Class: 1},
	})
	return f
}

func (f *fixture) put(t testing.TB, payload string) {
	t.Helper()
	require.NoError(t, queue.Put(t.Context(), f.client, queuetest.Text, payload))
}

// putInTheEnd puts a payload until the queue takes it, as a source does.
func (f *fixture) putInTheEnd(t *testing.T, payload string) {
	t.Helper()
	require.Eventually(t, func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
		defer cancel()
		return queue.Put(ctx, f.client, queuetest.Text, payload) == nil
	}, queuetest.Within, 10*time.Millisecond)
}

func (f *fixture) depth(t *testing.T) queue.Depth {
	t.Helper()
	depth, err := f.client.Depth(t.Context(), queuetest.Text.Class)
	require.NoError(t, err)
	depth.Oldest = 0
	return depth
}

// collect is a handler that sends on the payloads of its tasks.
func collect(got chan<- string) func(context.Context, *queue.Delivery[string]) error {
	return func(_ context.Context, d *queue.Delivery[string]) error {
		got <- d.Payload
		return nil
	}
}

func TestServerStartsWhileRedisIsDownAndWorksWhenItIsBack(t *testing.T) {
	t.Parallel()
	f := setup(t, localservers.RedisOptions{})
	require.NoError(t, f.redis.Kill())
	got := make(chan string, 1)
	queuetest.Run(t, f.client.Serve(queuetest.Serving(collect(got))))
	require.Equal(t, fault.Transient, fault.ClassOf(queue.Put(t.Context(), f.client, queuetest.Text, "early")))

	require.NoError(t, f.redis.Restart(t.Context()))

	f.putInTheEnd(t, "late")
	require.Equal(t, "late", queuetest.Receive(t, got))
}

func TestServerStopsInTimeWhileRedisIsDown(t *testing.T) {
	t.Parallel()
	for name, leave := range map[string]func(r *localservers.Redis) error{
		"dead": (*localservers.Redis).Kill, "frozen": (*localservers.Redis).Pause,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := setup(t, localservers.RedisOptions{})
			f.put(t, "under way")
			started := make(chan struct{})
			cfg := queuetest.Serving(func(ctx context.Context, _ *queue.Delivery[string]) error {
				close(started)
				<-ctx.Done()
				return ctx.Err()
			})
			cfg.Drain = 8 * time.Second // of which the end, after the connections are cut, is an eighth: enough on a busy machine
			stop := queuetest.Run(t, f.client.Serve(cfg))
			queuetest.Receive(t, started)
			require.NoError(t, leave(f.redis))

			begin := time.Now()
			require.NoError(t, stop())
			require.Less(t, time.Since(begin), 3*cfg.Drain)
		})
	}
}

func TestHandlerThatDoesNotEndIsNamedInTheErrorOfTheStop(t *testing.T) {
	t.Parallel()
	f := setup(t, localservers.RedisOptions{})
	f.put(t, "for ever")
	started, release := make(chan struct{}), make(chan struct{})
	t.Cleanup(func() { close(release) })
	cfg := queuetest.Serving(func(context.Context, *queue.Delivery[string]) error {
		close(started)
		<-release
		return nil
	})
	cfg.Drain = time.Second
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- f.client.Serve(cfg).Run(ctx) }()
	queuetest.Receive(t, started)
	cancel()
	require.EqualError(t, queuetest.Receive(t, ended), "1 handlers of class ingest still run 1s after the stop")
	require.Equal(t, queue.Depth{Pending: 1}, f.depth(t), "its task is given back all the same")
}

func TestNothingIsLostWhenRedisRestartsUnderLoad(t *testing.T) {
	t.Parallel()
	f := setup(t, localservers.RedisOptions{AppendOnly: true, Fsync: "always"})
	const tasks = 400
	var mu sync.Mutex
	missing := map[string]bool{}
	for i := range tasks {
		missing[fmt.Sprint(i)] = true
	}
	cfg := queuetest.Serving(func(_ context.Context, d *queue.Delivery[string]) error {
		mu.Lock()
		defer mu.Unlock()
		delete(missing, d.Payload)
		return nil
	})
	cfg.Concurrency = 4
	queuetest.Run(t, f.client.Serve(cfg))
	var load sync.WaitGroup
	var done atomic.Int64
	load.Go(func() {
		for i := range tasks {
			f.putInTheEnd(t, fmt.Sprint(i))
			done.Add(1)
		}
	})
	for restart := range 2 {
		require.Eventually(t, func() bool { return done.Load() > int64(restart+1)*tasks/3 }, queuetest.Within, time.Millisecond)
		require.NoError(t, f.redis.Restart(t.Context()))
	}
	load.Wait()
	require.Eventually(t, func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(missing) == 0
	}, queuetest.Within, 10*time.Millisecond)
}

func TestTaskThatEndsWhileRedisIsDownIsNotRunAgain(t *testing.T) {
	t.Parallel()
	f := setup(t, localservers.RedisOptions{AppendOnly: true, Fsync: "always"})
	f.put(t, "first")
	f.put(t, "second")
	got, finish := make(chan string, 4), make(chan struct{})
	queuetest.Run(t, f.client.Serve(queuetest.Serving(func(_ context.Context, d *queue.Delivery[string]) error {
		got <- d.Payload
		<-finish
		return nil
	})))
	require.Equal(t, "first", queuetest.Receive(t, got))
	require.NoError(t, f.redis.Kill())
	close(finish)
	require.NoError(t, f.redis.Restart(t.Context()))

	require.Equal(t, "second", queuetest.Receive(t, got))
	require.Eventually(t, func() bool { return f.depth(t) == queue.Depth{} }, queuetest.Within, 10*time.Millisecond,
		"both ends were reported")
	require.Empty(t, got)
}

func TestFullRedisRefusesTasksAndIsEmptiedByItsWorkers(t *testing.T) {
	t.Parallel()
	f := setup(t, localservers.RedisOptions{Args: []string{"--maxmemory", "16mb", "--maxmemory-policy", "noeviction"}})
	payload := strings.Repeat("x", 100_000)
	tasks := 0
	require.Eventually(t, func() bool {
		err := queue.Put(t.Context(), f.client, queuetest.Text, payload)
		if err == nil {
			tasks++
			return false
		}
		require.Equal(t, fault.Transient, fault.ClassOf(err))
		require.ErrorContains(t, err, "put task text into queue ingest-0: ")
		require.NotContains(t, err.Error(), "xxx", "the error does not show the payload")
		return true
	}, queuetest.Within, time.Millisecond)
	require.Greater(t, tasks, 10)
	// At the limit itself Redis takes this and refuses that; well above it, it refuses everything that needs memory.
	require.NoError(t, f.raw.ConfigSet(t.Context(), "maxmemory", "8mb").Err())
	require.Equal(t, fault.Transient, fault.ClassOf(f.client.Probe(t.Context())))
	used, err := f.client.MemoryUsed(t.Context())
	require.NoError(t, err)
	require.Greater(t, used, 1.0)

	got := make(chan string, tasks)
	queuetest.Run(t, f.client.Serve(queuetest.Serving(collect(got))))
	for range tasks {
		require.Equal(t, payload, queuetest.Receive(t, got))
	}
	require.Eventually(t, func() bool { return f.depth(t) == queue.Depth{} }, queuetest.Within, 10*time.Millisecond)
	require.NoError(t, f.client.Probe(t.Context()))
	f.put(t, "room again")
	require.Equal(t, "room again", queuetest.Receive(t, got))
}

func TestFrozenRedisHoldsNobodyUpBeyondTheDeadline(t *testing.T) {
	t.Parallel()
	f := setup(t, localservers.RedisOptions{})
	f.put(t, "warm")
	delivery := take(t, f)
	require.NoError(t, f.redis.Pause())
	for name, call := range map[string]func(ctx context.Context) error{
		"put":    func(ctx context.Context) error { return queue.Put(ctx, f.client, queuetest.Text, "x") },
		"probe":  f.client.Probe,
		"depth":  func(ctx context.Context) error { _, err := f.client.Depth(ctx, queuetest.Text.Class); return err },
		"memory": func(ctx context.Context) error { _, err := f.client.MemoryUsed(ctx); return err },
		"count":  func(ctx context.Context) error { _, err := delivery.CountFailure(ctx); return err },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const within = 300 * time.Millisecond
			ctx, cancel := context.WithTimeout(t.Context(), within)
			defer cancel()
			begin := time.Now()
			require.Equal(t, fault.Transient, fault.ClassOf(call(ctx)))
			require.Less(t, time.Since(begin), 3*within)
		})
	}
	t.Run("scrape", func(t *testing.T) {
		t.Parallel()
		begin := time.Now()
		families, err := f.puts.Gather()
		require.NoError(t, err)
		require.Less(t, time.Since(begin), 3*500*time.Millisecond)
		require.NotEmpty(t, families)
		for _, family := range families {
			require.NotEqual(t, "tgfleet_queue_depth", family.GetName(), "an unknown depth is left out")
		}
	})
}

// take has a server hand out the next task, and stops it.
func take(t *testing.T, f *fixture) *queue.Delivery[string] {
	t.Helper()
	got := make(chan *queue.Delivery[string], 1)
	stop := queuetest.Run(t, f.client.Serve(queuetest.Serving(func(_ context.Context, d *queue.Delivery[string]) error {
		got <- d
		return nil
	})))
	delivery := queuetest.Receive(t, got)
	require.NoError(t, stop())
	return delivery
}

func TestWipedRedisGoesOnWorkingAndShowsItsQueuesAgain(t *testing.T) {
	t.Parallel()
	f := setup(t, localservers.RedisOptions{})
	got := make(chan string, 1)
	queuetest.Run(t, f.client.Serve(queuetest.Serving(collect(got))))
	f.put(t, "before")
	require.Equal(t, "before", queuetest.Receive(t, got))

	require.NoError(t, f.raw.FlushAll(t.Context()).Err())

	require.Equal(t, queue.Depth{}, f.depth(t))
	f.put(t, "after")
	require.Equal(t, "after", queuetest.Receive(t, got))
	require.NoError(t, f.client.Probe(t.Context()))
	require.Equal(t, []string{"ingest-0"}, f.raw.SMembers(t.Context(), "asynq:queues").Val())
}

func TestRunningServerListsItsQueuesByItself(t *testing.T) {
	t.Parallel()
	f := setup(t, localservers.RedisOptions{})
	queuetest.Run(t, f.client.Serve(queuetest.Serving(collect(nil))))
	listed := func() bool { return f.raw.SIsMember(t.Context(), "asynq:queues", "ingest-0").Val() }
	require.Eventually(t, listed, queuetest.Within, 10*time.Millisecond)
	require.NoError(t, f.raw.FlushAll(t.Context()).Err())
	require.Eventually(t, listed, queuetest.Within, 10*time.Millisecond)
}

func TestFailuresAreForgottenAfterADay(t *testing.T) {
	t.Parallel()
	f := setup(t, localservers.RedisOptions{})
	f.put(t, "counted")
	delivery := take(t, f)
	count, err := delivery.CountFailure(t.Context())
	require.NoError(t, err)
	require.Equal(t, 1, count)
	kept := f.raw.TTL(t.Context(), "tgfleet:{ingest-0}:failures:"+delivery.ID).Val()
	require.InDelta(t, 24*time.Hour, kept, float64(time.Minute))
}

func TestErrorOfAPutIsClassed(t *testing.T) {
	t.Parallel()
	f := setup(t, localservers.RedisOptions{})
	require.Equal(t, fault.Permanent, fault.ClassOf(queue.Put(t.Context(), f.client, queuetest.Text, "unencodable")))
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	require.Equal(t, fault.Transient, fault.ClassOf(queue.Put(ended, f.client, queuetest.Text, "x")))
	require.Equal(t, queue.Depth{}, f.depth(t))
}

// TestFinishedTasksAreReportedOnceTheNetworkHeals cuts the server off while it has finished tasks to report.
func TestFinishedTasksAreReportedOnceTheNetworkHeals(t *testing.T) {
	t.Parallel()
	const tasks = 8
	f := setup(t, localservers.RedisOptions{})
	network := testkit.NewProxy(t, f.redis.Addr())
	served := queuetest.Open(t, seal.Secret("redis://"+network.Addr()), queue.Options{Shards: map[queue.Class]int{queuetest.Text.Class: 1}})
	began, goOn := make(chan struct{}, tasks), make(chan struct{})
	cfg := queuetest.Serving(func(context.Context, *queue.Delivery[string]) error {
		began <- struct{}{}
		<-goOn
		return nil
	})
	cfg.Concurrency = tasks
	queuetest.Run(t, served.Serve(cfg))
	for range tasks {
		f.put(t, "payload")
	}
	for range tasks {
		<-began
	}
	network.Cut()
	close(goOn)
	for range 20 { // connections are tried, and broken, for a while
		require.Equal(t, fault.Transient, fault.ClassOf(served.Probe(t.Context())))
		<-time.After(20 * time.Millisecond)
	}
	network.Heal()
	// The lease of a task is thirty seconds: who waits for its end has not reported.
	require.Eventually(t, func() bool { return f.depth(t) == queue.Depth{} }, 15*time.Second, 20*time.Millisecond)
	require.Empty(t, began, "no task ran twice")
}
