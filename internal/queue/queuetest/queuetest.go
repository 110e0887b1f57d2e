// Package queuetest gives tests a queue on a real Redis, and the suite of what every Redis must do under package queue.
package queuetest

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/tgfleet/tgfleet/internal/lifecycle"
	"github.com/tgfleet/tgfleet/internal/localservers"
	"github.com/tgfleet/tgfleet/internal/localservers/localtest"
	"github.com/tgfleet/tgfleet/internal/queue"
	"github.com/tgfleet/tgfleet/internal/seal"
)

// Within is how long a test waits for what must happen.
const Within = 30 * time.Second

// Client returns a client with a Redis of its own; both end with the test.
func Client(t testing.TB) *queue.Client {
	t.Helper()
	redis := localtest.Redis(t, localservers.RedisOptions{})
	return Open(t, seal.Secret(redis.URL()), queue.Options{})
}

// Open returns a client for the Redis at address that ends with the test; without a logger it logs nowhere.
func Open(t testing.TB, address seal.Secret, options queue.Options) *queue.Client {
	t.Helper()
	if options.Log == nil {
		options.Log = slog.New(slog.DiscardHandler)
	}
	client, err := queue.Open(address, options)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, client.Close()) })
	return client
}

// Run runs a service until the returned function is called, which returns what the service did; the end of the test
// calls it too, and requires that there was no error.
func Run(t testing.TB, service lifecycle.Service) (stop func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- service.Run(ctx) }()
	stop = sync.OnceValue(func() error {
		cancel()
		return <-ended
	})
	t.Cleanup(func() { require.NoError(t, stop()) })
	return stop
}

// Text is the route of the tests: a payload is its own encoding, and "undecodable" has none back.
var Text = queue.Route[string]{
	Task: "text", Class: "ingest",
	Encode: func(payload string) ([]byte, error) {
		if payload == "unencodable" {
			return nil, errors.New("no encoding")
		}
		return []byte(payload), nil
	},
	Decode: func(raw []byte) (string, error) {
		switch string(raw) {
		case "undecodable":
			return "half of it", errors.New("no decoding")
		case "decoder panics":
			panic(string(raw))
		}
		return string(raw), nil
	},
}

// Serving returns a config that runs h for the tasks of Text, one at a time.
func Serving(h func(ctx context.Context, d *queue.Delivery[string]) error) queue.ServerConfig {
	return queue.ServerConfig{
		Class: Text.Class, Concurrency: 1, Drain: 10 * time.Second, Handlers: []queue.Handler{queue.Handle(Text, h)},
	}
}

// Receive returns the next value of ch, and fails the test when none comes.
func Receive[T any](t testing.TB, ch <-chan T) T {
	t.Helper()
	select {
	case value := <-ch:
		return value
	case <-time.After(Within):
		require.FailNow(t, "nothing came")
		panic("unreachable")
	}
}

// Archive archives a pending task, as asynq does with one that it gives up.
func Archive(t testing.TB, raw redis.UniversalClient, queueName, id string) {
	t.Helper()
	require.NoError(t, asynq.NewInspectorFromRedisClient(raw).ArchiveTask(queueName, id))
}
