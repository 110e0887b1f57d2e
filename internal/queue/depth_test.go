package queue_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tgfleet/tgfleet/internal/fault"
	"github.com/tgfleet/tgfleet/internal/localservers"
	"github.com/tgfleet/tgfleet/internal/queue"
	"github.com/tgfleet/tgfleet/internal/queue/queuetest"
)

func TestWaitIsKnownWhileNobodyWorksAfterAStopThatHandedTasksBack(t *testing.T) {
	t.Parallel()
	f := setup(t, localservers.RedisOptions{})
	begun := time.Now()
	f.put(t, "handed back")
	f.put(t, "waits")
	taken := make(chan struct{}, 2)
	cfg := queuetest.Serving(func(ctx context.Context, _ *queue.Delivery[string]) error {
		taken <- struct{}{}
		<-ctx.Done()
		return fault.As(fault.Transient, errors.New("not done"))
	})
	cfg.Drain = time.Second
	stop := queuetest.Run(t, f.client.Serve(cfg))
	queuetest.Receive(t, taken)
	require.NoError(t, stop())

	require.Equal(t, queue.Depth{Pending: 2}, f.depth(t))
	next := f.raw.LIndex(t.Context(), "asynq:{ingest-0}:pending", -1).Val()
	require.False(t, f.raw.HExists(t.Context(), "asynq:{ingest-0}:t:"+next, "pending_since").Val(), "the next one does not say")
	depth, err := f.client.Depth(t.Context(), queuetest.Text.Class)
	require.NoError(t, err)
	require.Positive(t, depth.Oldest)
	require.LessOrEqual(t, depth.Oldest, time.Since(begun))
}
