package e2e_test

import (
	"context"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tgfleet/tgfleet/internal/localservers"
	"github.com/tgfleet/tgfleet/internal/localservers/localtest"
	"github.com/tgfleet/tgfleet/internal/simulator"
)

// TestCrashedServersLoseNothing crashes Redis, then PostgreSQL, then both at once, while updates come in.
func TestCrashedServersLoseNothing(t *testing.T) {
	t.Parallel()
	const speed = 4
	tg := startTelegram(t, simulator.Config{Seed: 7, Clock: newFastClock(speed)})
	tg.SetFaults(simulator.Faults{LostAnswers: 0.02, Duplicates: 0.05, Order: simulator.AcrossQueues})
	// What is answered for must survive a crash of these servers, as in production; those of other tests need not. Redis promises that
	// with this policy only: with everysec it answers up to two seconds before it writes, whenever the disk is busy
	// (redis 7.0, aof.c, flushAppendOnlyFile).
	database, err := localservers.StartPostgres(t.Context(), localservers.PostgresOptions{Settings: []string{"synchronous_commit=on"}})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, database.Stop()) })
	redis := localtest.Redis(t, localservers.RedisOptions{AppendOnly: true, Fsync: "always"})
	f := newFleetOn(t, database.URL("postgres"), redis)
	f.addBots(tg.addBots(3)...)
	f.startAPI()
	f.startWorker()
	f.startWorker()
	for _, b := range f.bots {
		tg.post(b, f.api.url, nil)
	}
	said := tg.talk(simulator.TrafficConfig{Rate: 100 / speed, Burst: 40})
	goesOn := func() {
		t.Helper()
		tg.reached(time.Minute, tg.Oracle().Counts().Acknowledged+150, acknowledged)
	}

	goesOn()
	require.NoError(t, f.redis.Kill())
	goesOn() // through the spool
	require.NoError(t, f.redis.Restart(t.Context()))
	goesOn()
	require.NoError(t, database.Kill())
	goesOn() // into the queue, where it stays
	require.NoError(t, database.Restart(t.Context()))
	goesOn()
	failures := tg.Oracle().Counts().Failures
	require.NoError(t, f.redis.Kill())
	require.NoError(t, database.Kill())
	tg.reached(time.Minute, failures+10, func(c simulator.Counts) int { return c.Failures }) // stays at Telegram
	require.NoError(t, database.Restart(t.Context()))
	require.NoError(t, f.redis.Restart(t.Context()))
	goesOn()
	said.end()
	tg.delivered(2 * time.Minute)
	f.settled(2 * time.Minute)

	t.Logf("%+v", tg.Oracle().Counts())
	requireDelivered(t, tg)
	requireArchive(t, f.db, tg)
	api := f.api.metrics()
	require.Positive(t, api.sum("tgfleet_accept_updates_total", `"spool"`), "nothing went through the spool")
	require.Positive(t, api.sum("tgfleet_webhook_requests_total", `status="503"`), "nothing was left to Telegram")
	requireSecrecy(t, tg, f.env, f.bots, f.children()...)
}

// TestAPITakesOnlyWhatItCanKeep freezes Redis and holds the spool: nothing durable takes an update then.
func TestAPITakesOnlyWhatItCanKeep(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	body := hello(1)
	post := func() answer {
		t.Helper()
		request := f.request(http.MethodPost, f.api.url+f.bots[0].WebhookPath, body)
		request.Header.Set(secretHeader, f.bots[0].Secret)
		got, err := do(request)
		require.NoError(t, err)
		return got
	}
	require.NoError(t, f.redis.Pause())
	free := f.db.hold("spool")
	defer free()
	refused := post()
	require.Equal(t, http.StatusServiceUnavailable, refused.status)
	require.Equal(t, "2", refused.header.Get("Retry-After"))

	free()
	eventually(t, startWithin, func(context.Context) error {
		if got := post(); got.status != http.StatusOK {
			return fmt.Errorf("the spool does not take it: %d", got.status)
		}
		return nil
	})
	require.NoError(t, f.redis.Resume())
	require.Equal(t, http.StatusOK, post().status)
	f.settled(time.Minute)
	require.Equal(t, 1, f.db.count("SELECT count(*) FROM updates"))
}
