package mtproto

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gotd/td/bin"
	"github.com/gotd/td/telegram"
	"github.com/gotd/td/tg"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/tgfleet/tgfleet/internal/account"
)

// redisNamed is a queue whose Redis has that name.
type redisNamed string

func (r redisNamed) ReplicationID(context.Context) (string, error) { return string(r), nil }

// watched returns a client of a Telegram that answers where the updates stand as answer does, and whose own updates stand at pts 10.
func watched(redis string, answer func() (*tg.UpdatesState, error)) *client {
	metrics := newMetrics(prometheus.NewRegistry())
	invoke := telegram.InvokeFunc(func(_ context.Context, _ bin.Encoder, output bin.Decoder) error {
		state, err := answer()
		if err == nil {
			*output.(*tg.UpdatesState) = *state //nolint:forcetypeassert,errcheck // nothing else is asked for
		}
		return err
	})
	s := &client{
		holder: &holder{Listener: &Listener{metrics: metrics, redis: takingRedis{queue: redisNamed(redis)}}, log: slog.New(slog.DiscardHandler)},
		redis:  "one",
		state:  &state{common: account.UpdateState{Pts: 10}},
		intake: &intake{gaps: newGaps(nil)},
	}
	s.differences = &differences{api: tg.NewClient(invoke), calls: &calls{metrics: metrics, until: map[string]time.Time{}}, metrics: metrics}
	return s
}

func TestWatchLeavesAClientAloneThatIsWell(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := watched("one", func() (*tg.UpdatesState, error) { return &tg.UpdatesState{Pts: 10}, nil })
		ctx, cancel := context.WithTimeout(t.Context(), 24*time.Hour)
		defer cancel()
		require.ErrorIs(t, s.watch(ctx), context.DeadlineExceeded)
		require.False(t, s.intake.gaps.commonUpdates, "nothing was asked for")
	})
}

func TestWatchEndsAClientThatTelegramDoesNotAnswer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		s := watched("one", func() (*tg.UpdatesState, error) { return nil, errors.New("no answer") })
		require.ErrorIs(t, s.watch(t.Context()), errStuck)
		require.WithinRange(t, time.Now(), began.Add(3*time.Minute), began.Add(4*time.Minute))
	})
}

func TestWatchForgetsAnAnswerThatDidNotComeOnceOthersCome(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		s := watched("one", func() (*tg.UpdatesState, error) {
			if asked++; asked%3 != 0 {
				return nil, errors.New("no answer")
			}
			return &tg.UpdatesState{Pts: 10}, nil
		})
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		require.ErrorIs(t, s.watch(ctx), context.DeadlineExceeded)
	})
}

func TestWatchAsksForUpdatesThatDoNotComeAndThenEndsTheClient(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := watched("one", func() (*tg.UpdatesState, error) { return &tg.UpdatesState{Pts: 11}, nil })
		require.ErrorIs(t, s.watch(t.Context()), errStuck)
		require.True(t, s.intake.gaps.commonUpdates, "the difference was asked for")
	})
}

func TestWatchEndsAClientWhenAnotherRedisTakesTheUpdates(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		s := watched("two", func() (*tg.UpdatesState, error) { return &tg.UpdatesState{Pts: 10}, nil })
		require.ErrorIs(t, s.watch(t.Context()), errRedisChanged)
		require.Less(t, time.Since(began), 20*time.Second)
	})
}

func TestDifferencesFromTheSamePlaceAreAskedForEverMoreSlowly(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := pacing{asked: map[int64]repeats{}}
		var waits []time.Duration
		for range 10 {
			waits = append(waits, p.next(0, 5))
		}
		s := time.Second
		require.Equal(t, []time.Duration{0, 0, 0, s, 2 * s, 4 * s, 8 * s, 16 * s, 32 * s, time.Minute}, waits)
		require.Zero(t, p.next(7, 5), "another sequence")
		require.Zero(t, p.next(0, 6), "another place")
		for range 10 {
			p.next(0, 6)
		}
		later := time.NewTimer(5 * time.Minute)
		<-later.C
		require.Zero(t, p.next(0, 6), "the same place, but long after")
	})
}
