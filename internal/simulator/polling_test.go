package simulator_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tgfleet/tgfleet/internal/simulator"
)

// wait calls getUpdates for 50 s on a goroutine of its own.
func (f *fixture) wait(t *testing.T) chan *httptest.ResponseRecorder {
	t.Helper()
	answered := make(chan *httptest.ResponseRecorder, 1)
	r := getRequest(t, "/bot"+token+"/getUpdates?timeout=50")
	go func() {
		rw := httptest.NewRecorder()
		f.ServeHTTP(rw, r)
		answered <- rw
	}()
	synctest.Wait()
	return answered
}

func TestOffsetConfirmsEverythingBelow(t *testing.T) {
	t.Parallel()
	f := setup(t)
	one, two, three := f.say(t, chatA, "1"), f.say(t, chatA, "2"), f.say(t, chatB, "3")
	require.Equal(t, []int64{one.ID, two.ID, three.ID}, f.updates(t))
	require.Equal(t, []int64{one.ID, two.ID, three.ID}, f.updates(t), "unconfirmed updates come again")
	require.Equal(t, simulator.Pending, f.about(t, one).Outcome)

	require.Equal(t, []int64{three.ID}, f.updates(t, "offset", text(three.ID)))
	confirmed := f.about(t, two)
	require.Equal(t, simulator.Acknowledged, confirmed.Outcome)
	require.Equal(t, 2, confirmed.Attempts)
	require.Equal(t, 1, confirmed.Told)
	require.Equal(t, []int64{three.ID}, f.updates(t, "offset", text(one.ID)), "what is confirmed is gone")
	require.Empty(t, f.updates(t, "offset", text(three.ID+1)))
	require.NoError(t, f.WaitDelivered(t.Context()))
}

func TestNegativeOffsetCountsFromTheNewest(t *testing.T) {
	t.Parallel()
	f := setup(t)
	var all []int64
	for range 5 {
		all = append(all, f.say(t, chatA, "x").ID)
	}
	require.Equal(t, all[3:], f.updates(t, "offset", "-2"))
	require.Equal(t, all[3:], f.updates(t), "and forgets what was before")
	require.Equal(t, all[3:], f.updates(t, "offset", "-100"))
}

func TestOffsetFarAheadIsNoOffset(t *testing.T) {
	t.Parallel()
	f := setup(t)
	u := f.say(t, chatA, "x")
	require.Equal(t, []int64{u.ID}, f.updates(t, "offset", text(u.ID+1000)))
	require.Empty(t, f.updates(t, "offset", text(u.ID+5)))
}

func TestLimitIsFromOneToAHundred(t *testing.T) {
	t.Parallel()
	f := setup(t)
	for range 120 {
		f.say(t, chatA, "x")
	}
	for limit, want := range map[string]int{"": 100, "1": 1, "7": 7, "0": 1, "1000": 100} {
		require.Len(t, f.updates(t, "limit", limit), want, limit)
	}
}

func TestPolledUpdatesAreTheBytesOfTheOracle(t *testing.T) {
	t.Parallel()
	f := setup(t)
	posted, err := f.Post(f.bot, "message", []byte("{ \"text\": \"<&>\\u0000\\ud83d\",\n\"a\":1 , \"a\":2}"))
	require.NoError(t, err)
	second := f.say(t, chatA, "Привет")
	rw := httptest.NewRecorder()
	f.ServeHTTP(rw, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/bot"+token+"/getUpdates", http.NoBody))
	require.Equal(t, `{"ok":true,"result":[`+string(posted.Raw)+",\n"+string(second.Raw)+`]}`, rw.Body.String())
}

func TestLongPollEndsWithTheFirstUpdateOrItsTimeout(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := setup(t)
		start := time.Now()
		for asked, want := range map[string]time.Duration{"10": 10 * time.Second, "600": 50 * time.Second, "0": 0} {
			began := time.Now()
			require.Empty(t, f.updates(t, "timeout", asked))
			require.Equal(t, want, time.Since(began), asked)
		}
		require.Equal(t, time.Minute, time.Since(start))

		answered := f.wait(t)
		pass(t, 7*time.Second)
		u := f.say(t, chatA, "x")
		got := read(t, <-answered)
		require.Equal(t, []int64{u.ID}, ids(t, got.Result))
		require.Equal(t, 67*time.Second, time.Since(start))
	})
}

func TestPollerWhoGoesAwayTakesNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := setup(t)
		ctx, leave := context.WithCancel(t.Context())
		gone := make(chan struct{})
		go func() {
			defer close(gone)
			r := httptest.NewRequestWithContext(ctx, http.MethodGet, "/bot"+token+"/getUpdates?timeout=50", http.NoBody)
			f.ServeHTTP(httptest.NewRecorder(), r)
		}()
		synctest.Wait()
		leave()
		<-gone
		u := f.say(t, chatA, "x")
		require.Zero(t, f.about(t, u).Attempts)
		require.Equal(t, []int64{u.ID}, f.updates(t, "timeout", "50"), "and nobody is in the way of the next one")
	})
}

func TestSecondPollerEndsTheFirst(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := setup(t)
		first := f.wait(t)
		second := f.wait(t)
		got := read(t, <-first)
		require.Equal(t, http.StatusConflict, got.Status)
		require.Equal(t, "Conflict: terminated by other getUpdates request; make sure that only one bot instance is running", got.Description)

		u := f.say(t, chatA, "x")
		require.Equal(t, []int64{u.ID}, ids(t, read(t, <-second).Result))
	})
}

func TestWebhookAndPollingExcludeEachOther(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := setup(t)
		waiting := f.wait(t)
		f.setWebhook(t)
		got := read(t, <-waiting)
		require.Equal(t, http.StatusConflict, got.Status)
		require.Equal(t, "Conflict: terminated by setWebhook request", got.Description)

		got = f.call(t, "getUpdates", nil)
		require.Equal(t, http.StatusConflict, got.Status)
		require.Contains(t, got.Description, "can't use getUpdates method while webhook is active")

		u := f.say(t, chatA, "x")
		f.call(t, "deleteWebhook", nil)
		require.Equal(t, []int64{u.ID}, f.updates(t), "what the webhook did not take is there to be polled")
	})
}

func TestPolledUpdatesExpire(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := setup(t)
		query, err := f.Post(f.bot, "inline_query", []byte(`{"from":{"id":5}}`))
		require.NoError(t, err)
		u := f.say(t, chatA, "x")
		pass(t, 31*time.Second)
		require.Equal(t, []int64{u.ID}, f.updates(t))
		require.Equal(t, simulator.Expired, f.about(t, query).Outcome)
		pass(t, 24*time.Hour)
		require.Empty(t, f.updates(t))
		require.Equal(t, 2, f.Oracle().Counts().Expired)
	})
}

func TestUpdateIDsGrowByOneAndJumpAfterAWeekOfSilence(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := setup(t)
		first := f.say(t, chatA, "x")
		pass(t, 7*24*time.Hour-time.Second)
		second := f.say(t, chatA, "x")
		require.Equal(t, first.ID+1, second.ID)
		pass(t, 7*24*time.Hour)
		third := f.say(t, chatA, "x")
		require.NotEqual(t, second.ID+1, third.ID)
		require.Equal(t, third.ID+1, f.say(t, chatA, "x").ID)

		other := setup(t)
		require.Equal(t, first.ID, other.say(t, chatA, "x").ID, "the seed decides where it begins")
	})
}

func TestBacklogHoldsAHundredThousand(t *testing.T) {
	t.Parallel()
	f := setup(t)
	for range 100_000 {
		_, err := f.Post(f.bot, "message", []byte(`{}`))
		require.NoError(t, err)
	}
	u, err := f.Post(f.bot, "message", []byte(`{}`))
	require.NoError(t, err)
	require.Equal(t, simulator.Dropped, u.Outcome)
	require.Equal(t, 1, f.Oracle().Counts().Dropped)
	require.Equal(t, 100_000, f.Oracle().Counts().Pending)
}

func TestMessageIDsCountForTheAccountOrForTheChat(t *testing.T) {
	t.Parallel()
	f := setup(t)
	other, err := f.AddBot("7000000002:test-token", "other_bot")
	require.NoError(t, err)
	messageID := func(u simulator.Update, err error) int64 {
		require.NoError(t, err)
		var read struct {
			Message struct {
				ID int64 `json:"message_id"`
			} `json:"message"`
		}
		require.NoError(t, json.Unmarshal(u.Raw, &read))
		return read.Message.ID
	}
	const group, supergroup = -4_000_000_001, -1_002_000_000_001
	require.EqualValues(t, 1, messageID(f.PostMessage(f.bot, chatA, "x")))
	require.EqualValues(t, 2, messageID(f.PostMessage(f.bot, group, "x")), "private chats and basic groups share the account's count")
	require.EqualValues(t, 1, messageID(f.PostMessage(other, group, "x")), "and every account has its own")
	require.EqualValues(t, 1, messageID(f.PostMessage(f.bot, supergroup, "x")))
	require.EqualValues(t, 2, messageID(f.PostMessage(other, supergroup, "x")), "a supergroup counts for all")
}

func text(id int64) string { return strconv.FormatInt(id, 10) }
