package polling_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tgfleet/tgfleet/internal/account"
	"github.com/tgfleet/tgfleet/internal/content"
	"github.com/tgfleet/tgfleet/internal/ingest"
	"github.com/tgfleet/tgfleet/internal/obs"
	"github.com/tgfleet/tgfleet/internal/seal"
	"github.com/tgfleet/tgfleet/internal/simulator"
)

// world is a fixture with a Telegram that has one bot, in which time is the bubble's.
type world struct {
	*fixture
	telegram *simulator.Server
	network  *direct
	sink     *sink
	bot      account.Bot
}

const (
	botID     = 1
	token     = "AAsecretHalfOfTheToken"
	leaseName = "poll:botapi:1"
	chat      = content.ChatID(-1001)
)

func inWorld(t *testing.T, test func(t *testing.T, w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		telegram := simulator.New(simulator.Config{Seed: 7, Record: true})
		_, err := telegram.AddBot(tokenOf(botID, token), "first_bot")
		require.NoError(t, err)
		w := &world{
			fixture: newFixture(t), telegram: telegram, network: &direct{handler: telegram}, sink: newSink(), bot: newBot(t, botID, token),
		}
		w.fixture.sink, w.through = w.sink, w.network
		w.bots.set(w.bot)
		test(t, w)
		require.NotContains(t, w.log.String(), token, "the log shows the token")
	})
}

func (w *world) post(t *testing.T, text string) simulator.Update {
	t.Helper()
	u, err := w.telegram.PostMessage(botID, chat, text)
	require.NoError(t, err)
	return u
}

// call calls a method of the Bot API.
func (w *world) call(t *testing.T, method, parameters string) {
	t.Helper()
	rec := httptest.NewRecorder()
	req := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/bot"+tokenOf(botID, token)+"/"+method+"?"+parameters, http.NoBody)
	w.telegram.ServeHTTP(rec, req)
	require.Equal(t, http.StatusOK, rec.Code, rec.Body)
}

func (w *world) requireAllTaken(t *testing.T) {
	t.Helper()
	for _, u := range w.telegram.Oracle().Updates() {
		require.Equal(t, simulator.Acknowledged, u.Outcome)
		require.True(t, w.sink.has(u.Raw), "update %d is lost", u.ID)
	}
}

func TestUpdatesOfEveryKindComeInAsTheyHappen(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w *world) {
		stop := start(t, w.poller(t))
		elapse(time.Second)
		for _, kind := range ingest.Kinds {
			u, err := w.telegram.Post(botID, kind, []byte(`{"date":1}`))
			require.NoError(t, err)
			require.Equal(t, simulator.Pending, u.Outcome, "nobody asked for %s", kind)
			synctest.Wait()
			require.True(t, w.sink.has(u.Raw), "%s is taken at once", kind)
		}
		elapse(time.Minute)
		w.requireAllTaken(t)
		require.InDelta(t, len(ingest.Kinds), w.requests(t, "updates"), 0)
		require.GreaterOrEqual(t, w.requests(t, "empty"), 1.0)
		require.InDelta(t, len(ingest.Kinds), metric(t, w.reg, "tgfleet_polling_updates_total", ""), 0)
		require.InDelta(t, 1, w.inState(t, "polling"), 0)
		requireWellNamed(t, w.reg)
		stop()
		require.InDelta(t, 0, w.inState(t, "polling"), 0)
		require.Empty(t, w.leases.holder(leaseName), "the lease is given back")
	})
}

func TestOffsetMovesOnlyAfterEveryUpdateIsTaken(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w *world) {
		first, second, third := w.post(t, "1"), w.post(t, "2"), w.post(t, "3")
		w.sink.answers(func(_ context.Context, env ingest.Envelope) error {
			if bytes.Equal(env.Raw, second.Raw) {
				return errFull
			}
			return nil
		})
		stop := start(t, w.poller(t))
		elapse(time.Hour)
		require.True(t, w.sink.has(first.Raw))
		require.True(t, w.sink.has(third.Raw))
		require.Len(t, w.network.asked(), 1, "Telegram is asked for no more meanwhile")
		for _, u := range w.telegram.Oracle().Updates() {
			require.Zero(t, u.Told, "update %d was confirmed", u.ID)
		}
		require.Contains(t, w.log.String(), "updates not taken")

		w.sink.answers(nil)
		elapse(15 * time.Second)
		w.requireAllTaken(t)
		require.Equal(t, 1, w.sink.times(first.Raw), "only what was refused is offered again")
		stop()
	})
}

func TestUpdatesOfOneAnswerAreOfferedAtOnce(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w *world) {
		for i := range 150 {
			w.post(t, fmt.Sprint(i))
		}
		full := make(chan struct{})
		var offered atomic.Int64
		w.sink.answers(func(ctx context.Context, _ ingest.Envelope) error {
			if offered.Add(1) == 100 {
				close(full) // by one alone: two could see the same length of a channel
			}
			select {
			case <-full:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
		stop := start(t, w.poller(t))
		elapse(time.Second)
		require.Equal(t, 150, w.sink.total())
		stop()
	})
}

func TestAnEndAtAnyMomentLosesNothing(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	inWorld(t, func(t *testing.T, w *world) {
		// Half of what is offered is refused or takes a while, so that ends fall into every part of the work.
		w.sink.answers(func(ctx context.Context, env ingest.Envelope) error {
			switch ingest.HashOf(fmt.Appendf(nil, "%s %d", env.Raw, w.sink.total()))[0] % 4 {
			case 0:
				return errFull
			case 1:
				select {
				case <-time.After(time.Second):
				case <-ctx.Done():
					return ctx.Err()
				}
			}
			return nil
		})
		posting, posted := context.WithCancel(t.Context())
		go func() {
			defer posted()
			for i := range 2000 {
				_, _ = w.telegram.PostMessage(botID, chat, fmt.Sprint(i))
				<-time.After(50 * time.Millisecond)
			}
		}()
		for posting.Err() == nil {
			stop := start(t, w.poller(t))
			elapse(time.Duration(random.IntN(5000)) * time.Millisecond)
			stop()
			for _, u := range w.telegram.Oracle().Updates() {
				require.True(t, u.Told == 0 || w.sink.has(u.Raw), "update %d was confirmed and not taken", u.ID)
			}
		}
		w.sink.answers(nil)
		stop := start(t, w.poller(t))
		elapse(time.Minute)
		stop()
		require.Len(t, w.telegram.Oracle().Updates(), 2000)
		w.requireAllTaken(t)
	})
}

func TestAfterSilenceNoOffsetOfOldIsSent(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w *world) {
		stop := start(t, w.poller(t))
		elapse(time.Second)
		before := w.post(t, "before")
		elapse(12 * time.Hour)
		asked := w.network.asked()
		require.Nil(t, asked[0].Offset, "what is confirmed is Telegram's to know")
		require.Equal(t, before.ID+1, *asked[1].Offset)
		require.Nil(t, asked[len(asked)-1].Offset, "the offset is sent until it has confirmed, and not again")
		after := w.post(t, "after")
		elapse(time.Second)
		require.True(t, w.sink.has(after.Raw))
		stop()
		for _, q := range asked {
			require.Equal(t, 100, q.Limit)
			require.Equal(t, 50, q.Timeout)
			require.Len(t, q.AllowedUpdates, 27)
		}
	})
}

func TestAWebhookIsReportedAndPollingGoesOnAfterIt(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w *world) {
		w.call(t, "setWebhook", "url=http://elsewhere.example/x")
		w.post(t, "1")
		stop := start(t, w.poller(t))
		elapse(10 * time.Minute)
		require.InDelta(t, 1, w.inState(t, "conflict"), 0)
		require.InDelta(t, 18, w.requests(t, "conflict"), 3, "it asks slowly")
		require.Contains(t, w.log.String(), "a webhook is set, or something else polls this bot")
		require.Zero(t, w.sink.total())

		w.call(t, "deleteWebhook", "")
		elapse(time.Minute)
		w.requireAllTaken(t)
		require.InDelta(t, 1, w.inState(t, "polling"), 0)
		stop()
	})
}

func TestARevokedTokenIsReportedAndANewOneIsTakenUp(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w *world) {
		w.post(t, "1")
		w.bots.set(newBot(t, botID, "AAanOldToken"))
		stop := start(t, w.poller(t))
		elapse(10 * time.Minute)
		require.InDelta(t, 1, w.inState(t, "unauthorized"), 0)
		require.InDelta(t, 18, w.requests(t, "unauthorized"), 3, "it asks slowly")
		require.Contains(t, w.log.String(), "the token is wrong or was revoked")
		require.NotContains(t, w.log.String(), "AAanOldToken")

		w.bots.set(w.bot)
		elapse(10 * time.Second)
		require.InDelta(t, 1, w.inState(t, "polling"), 0)
		elapse(time.Minute)
		w.requireAllTaken(t)
		stop()
	})
}

func TestOnlyBotsWithoutAWebhookArePolledAndChangesAreSeen(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w *world) {
		withWebhook := w.bot
		withWebhook.Delivery = account.Webhook
		w.bots.set(withWebhook)
		stop := start(t, w.poller(t))
		elapse(time.Minute)
		require.Empty(t, w.network.asked())

		w.bots.set(w.bot)
		elapse(4 * time.Second)
		require.Equal(t, 1, w.network.running())

		w.bots.fail(errors.New("the database is away"))
		elapse(time.Hour)
		require.Equal(t, 1, w.network.running(), "the last list is kept")
		require.Equal(t, 1, strings.Count(w.log.String(), "the last list is kept"), "and that is logged once")
		w.bots.fail(nil)
		elapse(10 * time.Second)
		require.Contains(t, w.log.String(), "bots to poll refreshed again")

		w.bots.set()
		elapse(4 * time.Second)
		require.Zero(t, w.network.running())
		require.Empty(t, w.leases.holder(leaseName))
		stop()
	})
}

func TestOnePollerABotAndHandoverAtOnceAfterACleanStop(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w *world) {
		stopFirst := start(t, w.poller(t))
		elapse(time.Second)
		second := w.poller(t)
		stopSecond := start(t, second)
		for range 200 {
			w.post(t, "x")
			elapse(time.Second)
		}
		require.Equal(t, 1, w.network.mostAtOnce())
		require.InDelta(t, 1, w.inState(t, "elsewhere"), 0)
		holder := w.leases.holder(leaseName)

		stopFirst()
		w.post(t, "handed over")
		elapse(6 * time.Second)
		require.Equal(t, 201, w.sink.total())
		w.requireAllTaken(t)
		require.NotEqual(t, holder, w.leases.holder(leaseName))
		require.InDelta(t, 1, w.inState(t, "polling"), 0)
		stopSecond()
		require.Equal(t, 1, w.network.mostAtOnce())
		require.NotContains(t, w.log.String(), "conflict", "no poller ever ended another one's poll")
	})
}

func TestAPollerThatCannotRenewStopsBeforeAnotherBegins(t *testing.T) {
	t.Parallel()
	for name, trouble := range map[string]func(*cutLeases){
		"the database refuses":        func(c *cutLeases) { c.set(errors.New("connection refused"), false) },
		"the database does not reply": func(c *cutLeases) { c.set(nil, true) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inWorld(t, func(t *testing.T, w *world) {
				cut := &cutLeases{leases: w.leases}
				stopFirst := start(t, w.pollerWith(t, cut, newRing(t)))
				elapse(35 * time.Second)
				require.Equal(t, 1, w.network.running())
				stopSecond := start(t, w.poller(t))
				holder := w.leases.holder(leaseName)

				trouble(cut)
				elapse(8 * time.Second)
				require.Equal(t, 1, w.network.running(), "one that was renewed a moment ago goes on")
				elapse(12 * time.Second)
				require.Zero(t, w.network.running(), "it has stopped by itself")
				require.Equal(t, holder, w.leases.holder(leaseName), "while the lease still runs")
				require.Contains(t, w.log.String(), "the lease could not be renewed in time")

				elapse(20 * time.Second)
				require.Equal(t, 1, w.network.running())
				require.NotEqual(t, holder, w.leases.holder(leaseName))
				require.Equal(t, 1, w.network.mostAtOnce())
				stopFirst()
				stopSecond()
			})
		})
	}
}

func TestALostLeaseEndsThePollAtOnce(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w *world) {
		stop := start(t, w.poller(t))
		elapse(time.Second)
		w.leases.take(leaseName)
		elapse(10 * time.Second)
		require.Zero(t, w.network.running())
		require.Equal(t, "somebody", w.leases.holder(leaseName), "a lease that is lost is not given back")
		require.Contains(t, w.log.String(), "the lease is lost")
		stop()
	})
}

func TestAWorkerWithoutTheKeyLeavesTheBotToOthers(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w *world) {
		key, err := seal.Generate("k2")
		require.NoError(t, err)
		ring, err := seal.ParseRing(key.Private())
		require.NoError(t, err)
		stopWrong := start(t, w.pollerWith(t, w.leases, ring))
		elapse(time.Minute)
		require.InDelta(t, 1, w.inState(t, "failing"), 0)
		require.Contains(t, w.log.String(), "key k1 is not in the ring")
		require.Empty(t, w.leases.holder(leaseName))

		stopRight := start(t, w.poller(t))
		u := w.post(t, "1")
		elapse(time.Second)
		require.True(t, w.sink.has(u.Raw))
		stopWrong()
		stopRight()
	})
}

func TestBeatTicksWhateverThePollsDo(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w *world) {
		stop := start(t, w.poller(t))
		w.sink.answers(func(ctx context.Context, _ ingest.Envelope) error { <-ctx.Done(); return ctx.Err() })
		w.post(t, "1")
		elapse(time.Hour)
		rec := httptest.NewRecorder()
		obs.Mux(w.reg, w.health).ServeHTTP(rec, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/health", http.NoBody))
		require.Equal(t, http.StatusOK, rec.Code, rec.Body)
		stop()
	})
}
