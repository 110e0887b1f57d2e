package queue_test

import (
	"context"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/tgfleet/tgfleet/internal/localservers"
	"github.com/tgfleet/tgfleet/internal/localservers/localtest"
	"github.com/tgfleet/tgfleet/internal/queue"
	"github.com/tgfleet/tgfleet/internal/queue/queuetest"
	"github.com/tgfleet/tgfleet/internal/seal"
)

func TestOpenRefusesWhatCannotWork(t *testing.T) {
	t.Parallel()
	options := queue.Options{Log: slog.New(slog.DiscardHandler)}
	_, err := queue.Open("http://:hunter2@host", options)
	require.ErrorContains(t, err, "redis URL: unknown scheme; want redis://")
	require.NotContains(t, err.Error(), "hunter2")

	options.Shards = map[queue.Class]int{"ingest": 0}
	_, err = queue.Open("redis://host", options)
	require.EqualError(t, err, "shards of class ingest: 0, want at least 1")

	options.Shards, options.Registerer = nil, prometheus.NewRegistry()
	first, err := queue.Open("redis://host", options)
	require.NoError(t, err, "no connection is made")
	require.NoError(t, first.Close())
	_, err = queue.Open("redis://host", options)
	require.ErrorContains(t, err, "metrics of the queue")
}

func TestServeRefusesWhatCannotWork(t *testing.T) {
	t.Parallel()
	client := queuetest.Open(t, "redis://127.0.0.1:1", queue.Options{})
	for want, change := range map[string]func(cfg *queue.ServerConfig){
		"serve class ingest: concurrency 0 and drain 10s: want both above zero": func(cfg *queue.ServerConfig) { cfg.Concurrency = 0 },
		"serve class ingest: concurrency 1 and drain 0s: want both above zero":  func(cfg *queue.ServerConfig) { cfg.Drain = 0 },
		"serve class ingest: handler of task text: want one, of this class": func(cfg *queue.ServerConfig) {
			cfg.Handlers = append(cfg.Handlers, cfg.Handlers...)
		},
		"serve class deliver: handler of task text: want one, of this class": func(cfg *queue.ServerConfig) { cfg.Class = "deliver" },
	} {
		cfg := queuetest.Serving(collect(nil))
		change(&cfg)
		require.EqualError(t, client.Serve(cfg).Run(t.Context()), want)
	}
}

// logged is a log that a test can read while it is written.
type logged struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func TestPanicIsLoggedWithItsPlaceAndWithoutItsValue(t *testing.T) {
	t.Parallel()
	var log logged
	server := localtest.Redis(t, localservers.RedisOptions{})
	client := queuetest.Open(t, seal.Secret(server.URL()), queue.Options{
		Log: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	require.NoError(t, queue.Put(t.Context(), client, queuetest.Text, "what somebody wrote"))
	panicked := make(chan struct{})
	stop := queuetest.Run(t, client.Serve(queuetest.Serving(func(_ context.Context, d *queue.Delivery[string]) error {
		defer close(panicked)
		panic(d.Payload)
	})))
	queuetest.Receive(t, panicked)
	require.NoError(t, stop())
	require.Contains(t, log.String(), "handler panicked")
	require.Contains(t, log.String(), "panic: string at github.com/tgfleet/tgfleet/internal/queue_test.TestPanicIsLogged")
	require.NotContains(t, log.String(), "somebody")
}

// silenceVariable makes this test binary play a process that uses a Redis that is away.
const silenceVariable = "QUEUE_WITHOUT_REDIS"

func useRedisThatIsAway() {
	client, err := queue.Open("redis://127.0.0.1:1", queue.Options{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		panic(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = client.Probe(ctx)
	_ = client.Serve(queuetest.Serving(collect(nil))).Run(ctx)
	_ = client.Close()
}

func TestLibrariesWriteNothingToTheStandardError(t *testing.T) {
	t.Parallel()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), silenceVariable+"=1")
	output, err := cmd.CombinedOutput()
	require.NoError(t, err)
	require.Empty(t, string(output))
}

func BenchmarkPut(b *testing.B) {
	payload := strings.Repeat("x", 4<<10)
	b.Run("alone", func(b *testing.B) {
		f := setup(b, localservers.RedisOptions{AppendOnly: true})
		for b.Loop() {
			f.put(b, payload)
		}
	})
	b.Run("64 at once", func(b *testing.B) {
		f := setup(b, localservers.RedisOptions{AppendOnly: true})
		b.SetParallelism(32)
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				f.put(b, payload)
			}
		})
	})
}

func BenchmarkServe(b *testing.B) {
	for _, shards := range []int{1, 2} {
		b.Run(map[int]string{1: "1 queue", 2: "2 queues"}[shards], func(b *testing.B) {
			server := localtest.Redis(b, localservers.RedisOptions{AppendOnly: true})
			client := queuetest.Open(b, seal.Secret(server.URL()), queue.Options{Shards: map[queue.Class]int{queuetest.Text.Class: shards}})
			for range b.N {
				require.NoError(b, queue.Put(b.Context(), client, queuetest.Text, "no-op"))
			}
			var done sync.WaitGroup
			done.Add(b.N)
			cfg := queuetest.Serving(func(context.Context, *queue.Delivery[string]) error {
				done.Done()
				return nil
			})
			cfg.Concurrency = 4 * shards
			b.ResetTimer()
			queuetest.Run(b, client.Serve(cfg))
			done.Wait()
			b.StopTimer()
		})
	}
}
