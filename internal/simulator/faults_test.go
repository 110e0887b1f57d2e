package simulator_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tgfleet/tgfleet/internal/simulator"
)

func contextFor(t *testing.T, d time.Duration) (context.Context, context.CancelFunc) {
	t.Helper()
	return context.WithTimeout(t.Context(), d)
}

func getRequest(t *testing.T, path string) *http.Request {
	t.Helper()
	return httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, http.NoBody)
}

func TestLostAnswerBringsTheUpdateAgain(t *testing.T) {
	t.Parallel()
	delivered(t, func(t *testing.T, f *fixture) {
		f.SetFaults(simulator.Faults{LostAnswers: 1})
		one, two := f.say(t, chatA, "1"), f.say(t, chatA, "2")
		require.NoError(t, f.WaitDelivered(t.Context()))
		require.Equal(t, []int64{one.ID, one.ID, two.ID, two.ID}, f.receiver.ids(), "at once, and before the next of its queue")
		require.Equal(t, f.receiver.got()[0].body, f.receiver.got()[1].body)
		about := f.about(t, one)
		require.Equal(t, 2, about.Told)
		require.Equal(t, time.Now(), about.ToldAt)
		require.Equal(t, "Read timeout expired", f.webhookInfo(t)["last_error_message"])
		counts := f.Oracle().Counts()
		require.Equal(t, 2, counts.Repeats)
		require.Equal(t, 2, counts.Failures)
		require.Equal(t, 2, counts.Acknowledged)
	})
}

func TestDuplicatesComeOnceMore(t *testing.T) {
	t.Parallel()
	delivered(t, func(t *testing.T, f *fixture) {
		f.SetFaults(simulator.Faults{Duplicates: 1})
		for chat := range int64(10) {
			f.say(t, 10+chat, "x")
		}
		require.NoError(t, f.WaitDelivered(t.Context()))
		got := f.receiver.ids()
		require.Len(t, got, 20)
		slices.Sort(got)
		require.Len(t, slices.Compact(got), 10)
		require.Equal(t, simulator.Counts{Posted: 10, Acknowledged: 10, Attempts: 20, Repeats: 10}, f.Oracle().Counts())
	})
}

func TestSomeAreSparedTheFaults(t *testing.T) {
	t.Parallel()
	delivered(t, func(t *testing.T, f *fixture) {
		f.SetFaults(simulator.Faults{LostAnswers: 0.3, Duplicates: 0.3})
		for range 200 {
			f.say(t, chatA, "x")
		}
		require.NoError(t, f.WaitDelivered(t.Context()))
		require.InDelta(t, 120, f.Oracle().Counts().Repeats, 40)
	})
}

func TestRedeliverSendsTheSameBytesAgain(t *testing.T) {
	t.Parallel()
	delivered(t, func(t *testing.T, f *fixture) {
		one, two := f.say(t, chatA, "1"), f.say(t, chatA, "2")
		require.NoError(t, f.WaitDelivered(t.Context()))
		require.NoError(t, f.Redeliver(f.bot, one.ID))
		require.NoError(t, f.WaitDelivered(t.Context()))
		require.Equal(t, []int64{one.ID, two.ID, one.ID}, f.receiver.ids())
		require.Equal(t, string(one.Raw), f.receiver.got()[2].body)

		f.receiver.answer = always(http.StatusServiceUnavailable)
		pending := f.say(t, chatA, "3")
		synctest.Wait()
		require.Error(t, f.Redeliver(f.bot, pending.ID), "it has not been taken yet")
		require.Error(t, f.Redeliver(f.bot, 1))
		require.NoError(t, f.Redeliver(f.bot, two.ID))
		pass(t, time.Second)
		require.Equal(t, two.ID, f.receiver.ids()[len(f.receiver.ids())-1], "before what waits in its queue")
	})
}

func TestRedeliveryReachesPollersAtItsPlace(t *testing.T) {
	t.Parallel()
	f := setup(t)
	one, two, three := f.say(t, chatA, "1"), f.say(t, chatA, "2"), f.say(t, chatA, "3")
	require.Equal(t, []int64{three.ID}, f.updates(t, "offset", text(three.ID)))
	require.NoError(t, f.Redeliver(f.bot, two.ID))
	require.NoError(t, f.Redeliver(f.bot, one.ID))
	require.Equal(t, []int64{one.ID, two.ID, three.ID}, f.updates(t))
}

// inversions counts the pairs of messages of one chat, and of different chats, that came the wrong way round.
func inversions(all []simulator.Update, came []int64) (within, across int) {
	chatOf := map[int64]int{}
	for i, u := range all {
		chatOf[u.ID] = i % 4
	}
	for i := range came {
		for j := i + 1; j < len(came); j++ {
			switch {
			case came[i] < came[j]:
			case chatOf[came[i]] == chatOf[came[j]]:
				within++
			default:
				across++
			}
		}
	}
	return within, across
}

func TestOrders(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		order          simulator.Order
		within, across bool
	}{
		{simulator.InOrder, false, false},
		{simulator.AcrossQueues, false, true},
		{simulator.AnyOrder, true, true},
	} {
		synctest.Test(t, func(t *testing.T) {
			f := setup(t)
			f.SetFaults(simulator.Faults{Order: c.order})
			f.setWebhook(t, "max_connections", "1")
			for i := range int64(80) {
				f.say(t, 10+i%4, "x")
			}
			f.run(t)
			require.NoError(t, f.WaitDelivered(t.Context()))
			within, across := inversions(f.Oracle().Updates(), f.receiver.ids())
			require.Equal(t, c.within, within > 0, "order %d within a chat", c.order)
			require.Equal(t, c.across, across > 0, "order %d across chats", c.order)
		})
	}
}

func TestOracleForgetsUnlessItIsAskedToRecord(t *testing.T) {
	t.Parallel()
	s := simulator.New(simulator.Config{})
	bot, err := s.AddBot(token, "test_bot")
	require.NoError(t, err)
	_, err = s.PostMessage(bot, chatA, "x")
	require.NoError(t, err)
	require.Empty(t, s.Oracle().Updates())
	require.Equal(t, 1, s.Oracle().Counts().Pending)
}
