package tasks_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tgfleet/tgfleet/internal/accept/batch"
	"github.com/tgfleet/tgfleet/internal/ingest"
)

// bothWays runs a test with batches in the queue and with batches in the spool.
func bothWays(t *testing.T, test func(t *testing.T, g *generations, put func(envelopes []ingest.Envelope))) {
	t.Helper()
	t.Run("queue", func(t *testing.T) {
		t.Parallel()
		g := setupGenerations(t)
		test(t, g, func(envelopes []ingest.Envelope) { g.put(batch.Batch{Envelopes: envelopes}) })
	})
	t.Run("spool", func(t *testing.T) {
		t.Parallel()
		g := setupGenerations(t)
		test(t, g, func(envelopes []ingest.Envelope) {
			_, err := g.db.Spool().Put(t.Context(), spooled(envelopes...))
			require.NoError(t, err)
		})
	})
}

// deadPayload returns the bytes of a dead letter of a class.
func (w *worker) deadPayload(class string) (payload []byte) {
	w.t.Helper()
	require.NoError(w.t, w.sql.QueryRowContext(w.t.Context(), `SELECT payload FROM dead_letters WHERE class = $1`, class).Scan(&payload))
	return payload
}

const countCrashed = `SELECT count(*) FROM dead_letters WHERE class = 'crashed_worker'`

func TestUpdateThatKillsWorkersDiesAndItsBatchGoesOn(t *testing.T) {
	t.Parallel()
	bothWays(t, func(t *testing.T, g *generations, put func([]ingest.Envelope)) {
		g.mortal.Killers = []int64{64}
		put(messages(1, 64)) // the last one kills
		require.Equal(t, 5, g.untilSettled(), "two to be suspect, three to be sure")
		require.Equal(t, 63, g.query(countMessages))
		require.Equal(t, 1, g.query(countDead))
		require.Equal(t, string(message(64).Raw), string(g.deadPayload("crashed_worker")))
	})
}

func TestSeveralKillersInOneBatchDieOneAfterTheOther(t *testing.T) {
	t.Parallel()
	bothWays(t, func(t *testing.T, g *generations, put func([]ingest.Envelope)) {
		g.mortal.Killers = []int64{3, 7}
		put(messages(1, 8))
		require.Equal(t, 8, g.untilSettled())
		require.Equal(t, 6, g.query(countMessages))
		require.Equal(t, 2, g.query(countCrashed))
	})
}

func TestInnocentBatchesThatDieWithAKillerAreAllApplied(t *testing.T) {
	t.Parallel()
	bothWays(t, func(t *testing.T, g *generations, put func([]ingest.Envelope)) {
		// When the killer strikes the others are at their first update, each time: it is taken last, and strikes faster than they go on.
		g.mortal.Killers, g.mortal.Slow = []int64{193}, []int64{1, 65, 129}
		put(messages(1, 64))
		put(messages(65, 128))
		put(messages(129, 192))
		put(messages(193, 256))
		g.untilSettled()
		require.Equal(t, 255, g.query(countMessages))
		require.Equal(t, 1, g.query(countCrashed))
		require.Equal(t, 1, g.query(countDead))
	})
}

func TestBatchThatKillsWhoeverOpensItDies(t *testing.T) {
	t.Parallel()
	bothWays(t, func(t *testing.T, g *generations, put func([]ingest.Envelope)) {
		g.mortal.KillingSize = 3
		put(messages(1, 3))
		put(messages(4, 8))
		require.Equal(t, 5, g.untilSettled())
		require.Equal(t, 5, g.query(countMessages))
		require.Equal(t, 1, g.query(countDead))
		opened, err := batch.Decode(g.deadPayload("crashed_worker"))
		require.NoError(t, err)
		require.Len(t, opened.Envelopes, 3)
	})
}

func TestTwoKillsAtOneUpdateCondemnNobody(t *testing.T) {
	t.Parallel()
	bothWays(t, func(t *testing.T, g *generations, put func([]ingest.Envelope)) {
		g.mortal.Killers = []int64{2}
		put(messages(1, 4))
		for range 4 { // two kills before the batch is suspect, and two while the update is marked
			require.False(t, g.live(g.settled))
			g.comeBack()
		}
		g.mortal.Killers = nil // it was not the update after all
		require.Zero(t, g.untilSettled())
		require.Equal(t, 4, g.query(countMessages))
		require.Zero(t, g.query(countDead))
	})
}

func TestSuspectBatchFollowsTheRulesOfAllBatches(t *testing.T) {
	t.Parallel()
	g := setupGenerations(t)
	w := setupOn(t, g.mortal.Database, spoilt{3: true})
	w.failOn("P0001", canary)
	envelopes := messages(1, 9)
	envelopes[7] = envelope("no update: " + canary)
	row := spooled(envelopes...)
	_, err := w.db.Spool().Put(t.Context(), row)
	require.NoError(t, err)
	w.exec(`UPDATE spool SET crashes = 2`)
	w.drain()
	w.eventually(countSpool, 0)
	w.eventually(countMessages, 6)
	for class, id := range map[string]string{"refused_by_database": "3", "failed_repeatedly": "5", "not_json": "0"} {
		require.Equal(t, 1, w.query(`SELECT count(*) FROM dead_letters WHERE class = '`+class+`' AND update_id = `+id), class)
	}
	require.Contains(t, w.log.String(), `"result":"alone"`)
}

func TestMessageThatIsNoTaskBecomesADeadLetter(t *testing.T) {
	t.Parallel()
	g := setupGenerations(t)
	const prefix, text = "asynq:{ingest-0}:", "half a message of " + canary
	require.NoError(t, g.raw.HSet(t.Context(), prefix+"t:a", "msg", text).Err())
	require.NoError(t, g.raw.LPush(t.Context(), prefix+"pending", "a").Err())
	g.serve()
	g.eventually(`SELECT count(*) FROM dead_letters WHERE class = 'undecodable_batch'`, 1)
	require.Equal(t, text, string(g.deadPayload("undecodable_batch")))
	require.Eventually(t, g.settled, 10*time.Second, 5*time.Millisecond)
	require.Empty(t, g.raw.Keys(t.Context(), prefix+"t:*").Val())
}
