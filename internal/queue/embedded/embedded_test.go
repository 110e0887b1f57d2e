package embedded_test

import (
	"context"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/tgfleet/tgfleet/internal/lifecycle"
	"github.com/tgfleet/tgfleet/internal/queue/embedded"
	"github.com/tgfleet/tgfleet/internal/queue/queuetest"
	"github.com/tgfleet/tgfleet/internal/seal"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func start(t testing.TB) *embedded.Redis {
	t.Helper()
	server, err := embedded.Start()
	require.NoError(t, err)
	queuetest.Run(t, lifecycle.Service{Name: "embedded redis", Run: server.Run})
	return server
}

func connect(t *testing.T, address seal.Secret) *redis.Client {
	t.Helper()
	options, err := redis.ParseURL(address.Reveal())
	require.NoError(t, err)
	options.MaxRetries = -1
	client := redis.NewClient(options)
	t.Cleanup(func() { require.NoError(t, client.Close()) })
	return client
}

func TestEmbedded(t *testing.T) {
	t.Parallel()
	queuetest.Suite(t, func(t testing.TB) seal.Secret { return start(t).URL() })
}

func TestKeysExpireInTime(t *testing.T) {
	t.Parallel()
	client := connect(t, start(t).URL())
	require.NoError(t, client.Set(t.Context(), "short", 1, 3*time.Second).Err())
	require.NoError(t, client.Set(t.Context(), "long", 1, time.Hour).Err())
	set := time.Now()

	require.Eventually(t, func() bool { return client.Exists(t.Context(), "short").Val() == 0 }, queuetest.Within, 10*time.Millisecond)

	require.Greater(t, time.Since(set), 1900*time.Millisecond, "it may end a second early and no more")
	require.EqualValues(t, 1, client.Exists(t.Context(), "long").Val())
}

func TestOthersOnTheMachineAreKeptOut(t *testing.T) {
	t.Parallel()
	server := start(t)
	with := connect(t, server.URL())
	require.NoError(t, with.Ping(t.Context()).Err())
	without := redis.NewClient(&redis.Options{Addr: with.Options().Addr, MaxRetries: -1})
	defer func() { require.NoError(t, without.Close()) }()
	require.ErrorContains(t, without.Get(t.Context(), "key").Err(), "NOAUTH")
}

func TestEndsWithItsRun(t *testing.T) {
	t.Parallel()
	server, err := embedded.Start()
	require.NoError(t, err)
	client := connect(t, server.URL())
	require.NoError(t, client.Ping(t.Context()).Err())
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.NoError(t, server.Run(ctx))
	require.Error(t, client.Ping(t.Context()).Err())
}
