package queue

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/tgfleet/tgfleet/internal/fault"
)

// delays returns a hundred of the delays that a failure may get.
func delays(err error) (shortest, longest time.Duration) {
	shortest = time.Hour
	for range 100 {
		delay := retryDelay(0, &brief{err}, nil)
		shortest, longest = min(shortest, delay), max(longest, delay)
	}
	return shortest, longest
}

func TestRetryDelayFollowsTheKindOfFailure(t *testing.T) {
	t.Parallel()
	shortest, longest := delays(errors.New("ordinary"))
	require.GreaterOrEqual(t, shortest, time.Second)
	require.LessOrEqual(t, longest, 3*time.Second)
	require.NotEqual(t, shortest, longest, "tasks that failed together do not come back together")

	shortest, longest = delays(errUnknownTask)
	require.GreaterOrEqual(t, shortest, 10*time.Second)
	require.LessOrEqual(t, longest, 15*time.Second)

	_, longest = delays(asynq.ErrLeaseExpired)
	require.LessOrEqual(t, longest, time.Second)

	_, longest = delays(fault.Throttle(-time.Second, errors.New("at once")))
	require.Zero(t, longest)
}

func TestThrottledTaskIsNeverEarlyAlthoughAsynqCountsWholeSeconds(t *testing.T) {
	t.Parallel()
	for _, after := range []time.Duration{time.Millisecond, 999 * time.Millisecond, time.Second, 90 * time.Second} {
		asked := time.Now().Add(after)
		delay := retryDelay(0, fault.Throttle(after, errors.New("later")), nil)
		kept := time.Unix(time.Now().Add(delay).Unix(), 0)
		require.False(t, kept.Before(asked), "asked for %s, kept %s", asked, kept)
		require.Less(t, kept.Sub(asked), 1500*time.Millisecond)
	}
}

func TestErrorTextKeptWithATaskIsBounded(t *testing.T) {
	t.Parallel()
	root := fault.As(fault.Permanent, errors.New(strings.Repeat("ä", briefBytes)))
	err := &brief{fmt.Errorf("x%w", root)}
	require.LessOrEqual(t, len(err.Error()), briefBytes)
	require.Equal(t, "x"+strings.Repeat("ä", (briefBytes-1)/2), err.Error(), "cut between two letters")
	require.Equal(t, fault.Permanent, fault.ClassOf(err))
}

func TestCommandsThatFailAreNotRepeatedAtOnce(t *testing.T) {
	t.Parallel()
	l := newLink(func(through func(dialer) dialer) redis.UniversalClient {
		return address{UniversalOptions: redis.UniversalOptions{Addrs: []string{"127.0.0.1:1"}}}.client(1, through)
	})
	t.Cleanup(func() { require.NoError(t, l.close()) })
	begin := time.Now()
	for range 4 {
		require.Error(t, l.redis.Ping(t.Context()).Err())
	}
	require.GreaterOrEqual(t, time.Since(begin), 4*50*time.Millisecond)

	l.cut()
	require.Error(t, l.redis.Ping(t.Context()).Err(), "a link that is cut waits for nothing")
}

func TestClassOwnsItsNumberedQueuesOnly(t *testing.T) {
	t.Parallel()
	for queue, owned := range map[string]bool{
		"ingest-0": true, "ingest-12": true, "ingest": false, "ingest-": false, "ingest-x": false, "ingest-01": false,
		"ingest--1": false, "ingest-+1": false, "backfill-0": false, "ingest-old-0": false,
	} {
		require.Equal(t, owned, Class("ingest").owns(queue), queue)
	}
}

func TestAsynqLogLetsOneLineOfEachLevelThroughASecond(t *testing.T) {
	t.Parallel()
	var text strings.Builder
	log := newAsynqLog(slog.New(slog.NewTextHandler(&text, nil)))
	for range 5 {
		log.Error("dial refused: ", 7)
		log.Warn("could not extend")
		log.Info("a step of asynq's own")
	}
	require.Equal(t, 1, strings.Count(text.String(), `level=ERROR msg=asynq detail="dial refused: 7" left_out=0`))
	require.Equal(t, 1, strings.Count(text.String(), "level=WARN"))
	require.NotContains(t, text.String(), "a step")

	log.failure.next = time.Now()
	log.Error("again")
	require.Contains(t, text.String(), "detail=again left_out=4")
}
