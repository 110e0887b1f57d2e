package e2e_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tgfleet/tgfleet/internal/ingest"
	"github.com/tgfleet/tgfleet/internal/simulator"
)

// TestFleetKeepsEveryUpdateOnce sends lifelike updates through a whole fleet, with everything that Telegram does to a receiver:
// answers that get lost, updates that come again, and none of them in order.
func TestFleetKeepsEveryUpdateOnce(t *testing.T) {
	t.Parallel()
	const crowds, perCrowd = 20, 250
	tg := startTelegram(t, simulator.Config{Seed: 1})
	tg.SetFaults(simulator.Faults{LostAnswers: 0.05, Duplicates: 0.1, Order: simulator.AnyOrder})
	f := newFleet(t)
	f.addBots(tg.addBots(3)...)
	f.startAPI()
	f.startWorker()
	f.startWorker()
	// One bot asks for every kind that Telegram has a name for; the default of the others leaves kinds out, and lets unknown ones in.
	tg.post(f.bots[0], f.api.url, ingest.Kinds)
	tg.post(f.bots[1], f.api.url, nil)
	tg.post(f.bots[2], f.api.url, nil)

	// Crowd after crowd, so that nothing has to wait at Telegram for so long that it is given up there.
	for range crowds {
		tg.talk(simulator.TrafficConfig{Limit: perCrowd}).wait()
		tg.delivered(time.Minute)
	}
	f.settled(time.Minute)

	requireArchive(t, f.db, tg)
	counts := tg.Oracle().Counts()
	require.Equal(t, crowds*perCrowd, counts.Posted)
	require.Equal(t, counts.Posted, counts.Acknowledged, "%+v", counts)
	require.Positive(t, counts.Repeats)
	require.Positive(t, counts.Failures)
	requireMetrics(t, f, tg)
	requireSchemas(t, f.db, "message.created", "message.revised", "chat.updated", "chat.migrated", "member.changed", "reaction.changed",
		"poll.updated", "interaction.received")
	for _, worker := range f.workers {
		require.NotContains(t, worker.stderr(), `"result":"retried"`, "nothing stood in the way of any batch")
	}
	requireSecrecy(t, tg, f.env, f.bots, f.children()...)
}

// requireMetrics fails unless the fleet's own numbers are those of the oracle and of the database.
func requireMetrics(t testing.TB, f *fleet, tg *telegram) {
	t.Helper()
	taken, posted := 0, 0
	for _, u := range tg.Oracle().Updates() {
		taken += u.Told
		if u.ID != 0 {
			posted++
		}
	}
	api := f.api.metrics()
	require.Equal(t, taken, api.sum("tgfleet_webhook_requests_total", `status="200"`))
	require.Equal(t, taken, api.sum("tgfleet_accept_updates_total", ""))
	require.Equal(t, posted, sumOf(f.workers, "tgfleet_archive_updates_total", `result="new"`))
	require.GreaterOrEqual(t, sumOf(f.workers, "tgfleet_archive_updates_total", `result="repeat"`), taken-posted)
	require.Equal(t, f.db.count("SELECT count(*) FROM messages"), sumOf(f.workers, "tgfleet_archive_messages_total", ""))
	require.Equal(t, f.db.count("SELECT count(*) FROM message_revisions"), sumOf(f.workers, "tgfleet_archive_revisions_total", ""))
	require.Equal(t, f.db.count("SELECT count(*) FROM platform_events"), sumOf(f.workers, "tgfleet_archive_events_total", ""))
	require.Zero(t, sumOf(f.workers, "tgfleet_archive_dead_letters_total", ""))
	for _, s := range append(f.workers, f.api) {
		require.Zero(t, s.metrics().sum("tgfleet_queue_depth", ""), "%s sees something in the queues", s.name)
	}
}
