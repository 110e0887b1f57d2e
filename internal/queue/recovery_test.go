package queue_test

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/tgfleet/tgfleet/internal/fault"
	"github.com/tgfleet/tgfleet/internal/localservers"
	"github.com/tgfleet/tgfleet/internal/obs"
	"github.com/tgfleet/tgfleet/internal/queue"
	"github.com/tgfleet/tgfleet/internal/queue/queuetest"
	"github.com/tgfleet/tgfleet/internal/seal"
)

// orphanVariable makes this test binary play a worker that takes a task and never finishes it.
const orphanVariable = "QUEUE_WORKER_TO_BE_KILLED"

func workUntilKilled() {
	client, err := queue.Open(seal.Secret(os.Getenv(orphanVariable)), queue.Options{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		panic(err)
	}
	_ = client.Serve(queuetest.Serving(func(context.Context, *queue.Delivery[string]) error {
		_, _ = os.Stdout.WriteString("taken\n")
		select {}
	})).Run(context.Background())
}

func TestWorkOfAKilledProcessIsDoneByOthersSoon(t *testing.T) {
	t.Parallel()
	f := setup(t, localservers.RedisOptions{})
	f.put(t, "orphan")
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), orphanVariable+"="+f.redis.URL())
	out, err := child.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, child.Start())
	killed := false
	t.Cleanup(func() {
		if !killed {
			_ = child.Process.Kill()
		}
		_ = child.Wait()
	})
	_, err = out.Read(make([]byte, 6))
	require.NoError(t, err)
	got := make(chan *queue.Delivery[string], 1)
	queuetest.Run(t, f.client.Serve(queuetest.Serving(func(_ context.Context, d *queue.Delivery[string]) error {
		got <- d
		return nil
	})))
	// The worst moment is right after a sign of life.
	lease := f.raw.ZRangeWithScores(t.Context(), "asynq:{ingest-0}:lease", 0, -1).Val()
	require.Len(t, lease, 1)
	require.Eventually(t, func() bool {
		now := f.raw.ZRangeWithScores(t.Context(), "asynq:{ingest-0}:lease", 0, -1).Val()
		return len(now) == 1 && now[0].Score > lease[0].Score
	}, queuetest.Within, time.Millisecond)

	require.NoError(t, child.Process.Kill())
	killed = true
	begin := time.Now()
	delivery := queuetest.Receive(t, got)
	t.Logf("taken over after %s", time.Since(begin))
	require.Equal(t, "orphan", delivery.Payload)
	require.Equal(t, 1, delivery.Crashes)
}

func TestWhatNobodyCanRunIsBuriedAndKeepsNothingFromRecovery(t *testing.T) {
	t.Parallel()
	const prefix = "asynq:{ingest-0}:"
	f := setup(t, localservers.RedisOptions{})
	ctx := t.Context()
	past := float64(time.Now().Add(-time.Hour).Unix())
	abandon := map[string]func(id string){
		"active": func(id string) { require.NoError(t, f.raw.LPush(ctx, prefix+"active", id).Err()) },
		"active with a dead lease": func(id string) {
			require.NoError(t, f.raw.LPush(ctx, prefix+"active", id).Err())
			require.NoError(t, f.raw.ZAdd(ctx, prefix+"lease", redis.Z{Member: id, Score: past}).Err())
		},
		"archived": func(id string) {
			require.NoError(t, f.raw.ZAdd(ctx, prefix+"archived", redis.Z{Member: id, Score: past}).Err())
		},
		"retry": func(id string) {
			require.NoError(t, f.raw.ZAdd(ctx, prefix+"retry", redis.Z{Member: id, Score: past}).Err())
		},
		"pending": func(id string) { require.NoError(t, f.raw.RPush(ctx, prefix+"pending", id).Err()) },
		"lost":    func(string) {},
	}
	var foreign, sound []string
	for place, leave := range abandon {
		// Beside each task that can be run there is one whose message nobody can decode, one that has none, and one that is no task.
		message := "message of nobody, " + place
		foreign = append(foreign, message)
		require.NoError(t, f.raw.HSet(ctx, prefix+"t:foreign "+place, "msg", message).Err())
		leave("foreign " + place)
		require.NoError(t, f.raw.HSet(ctx, prefix+"t:empty "+place, "state", "active").Err())
		leave("empty " + place)
		leave("\xff nothing " + place)
		if place != "retry" { // asynq itself stumbles over this one there, for ever
			require.NoError(t, f.raw.Set(ctx, prefix+"t:text "+place, "text", 0).Err())
			leave("text " + place)
		}
		f.put(t, place)
		sound = append(sound, place)
		id := f.raw.LPop(ctx, prefix+"pending").Val()
		leave(id)
	}

	got, buried := make(chan string, 100), make(chan string, 100)
	cfg := queuetest.Serving(collect(got))
	var databaseIsBack atomic.Bool
	cfg.Undecodable = func(_ context.Context, message []byte) error {
		if !databaseIsBack.Load() {
			return errors.New("the database is away")
		}
		buried <- string(message)
		return nil
	}
	queuetest.Run(t, f.client.Serve(cfg))

	var arrived, kept []string
	for range sound {
		arrived = append(arrived, queuetest.Receive(t, got))
	}
	databaseIsBack.Store(true)
	for range foreign {
		kept = append(kept, receiveWithin(t, buried, 3*queuetest.Within))
	}
	require.ElementsMatch(t, sound, arrived)
	require.ElementsMatch(t, foreign, kept)
	require.Eventually(t, func() bool {
		for _, list := range []string{"pending", "active"} {
			if f.raw.LLen(ctx, prefix+list).Val() > 0 {
				return false
			}
		}
		return f.raw.ZCard(ctx, prefix+"retry").Val()+f.raw.ZCard(ctx, prefix+"archived").Val() == 0
	}, queuetest.Within, 10*time.Millisecond, "nothing goes round and round")
	require.Empty(t, f.raw.Keys(ctx, prefix+"t:foreign*").Val())
	require.Empty(t, got)
	require.Empty(t, buried)
}

func receiveWithin(t *testing.T, ch <-chan string, within time.Duration) string {
	t.Helper()
	select {
	case value := <-ch:
		return value
	case <-time.After(within):
		require.FailNow(t, "nothing came")
		return ""
	}
}

func TestBeatGoesOnWhileRedisIsDown(t *testing.T) {
	t.Parallel()
	f := setup(t, localservers.RedisOptions{})
	require.NoError(t, f.redis.Kill())
	health := obs.NewHealth()
	cfg := queuetest.Serving(collect(nil))
	// The bound is shorter than the pause between two beats, so that each one is seen.
	cfg.Beat = health.Loop("queue", time.Second)
	mux := obs.Mux(prometheus.NewRegistry(), health)
	status := func() int {
		answer := httptest.NewRecorder()
		mux.ServeHTTP(answer, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/health", nil))
		return answer.Code
	}
	stop := queuetest.Run(t, f.client.Serve(cfg))
	for range 2 {
		for _, want := range []int{http.StatusServiceUnavailable, http.StatusOK} {
			require.Eventually(t, func() bool { return status() == want }, queuetest.Within, 10*time.Millisecond)
		}
	}
	require.NoError(t, stop())
	require.Eventually(t, func() bool { return status() == http.StatusServiceUnavailable }, queuetest.Within, 10*time.Millisecond)
}

func TestMarkOfALiveWorkerIsTakenOffAsSoonAsRedisIsBack(t *testing.T) {
	t.Parallel()
	f := setup(t, localservers.RedisOptions{AppendOnly: true, Fsync: "always"})
	f.put(t, "suspect")
	const within = 300 * time.Millisecond
	marked, returned := make(chan *queue.Delivery[string]), make(chan error, 1)
	away, release := make(chan struct{}), make(chan struct{})
	var deliveries atomic.Int64
	queuetest.Run(t, f.client.Serve(queuetest.Serving(func(ctx context.Context, d *queue.Delivery[string]) error {
		if deliveries.Add(1) > 1 {
			return nil
		}
		if err := d.Mark(ctx, 5); err != nil {
			return err
		}
		marked <- d
		<-away
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), within)
		defer cancel()
		returned <- d.Unmark(ctx)
		<-release
		return nil
	})))
	delivery := queuetest.Receive(t, marked)
	defer close(release)
	require.NoError(t, f.redis.Kill())
	close(away)
	require.Equal(t, fault.Transient, fault.ClassOf(queuetest.Receive(t, returned)))
	require.NoError(t, f.redis.Restart(t.Context()))
	require.Eventually(t, func() bool {
		return !f.raw.HExists(t.Context(), "tgfleet:{ingest-0}:marks:"+delivery.ID, "part").Val()
	}, queuetest.Within, 10*time.Millisecond)

	next := *delivery
	next.Crashes++
	blamed, err := next.Blamed(t.Context())
	require.NoError(t, err)
	require.Empty(t, blamed)
	require.InDelta(t, 24*time.Hour, f.raw.TTL(t.Context(), "tgfleet:{ingest-0}:marks:"+delivery.ID).Val(), float64(time.Minute))
}
