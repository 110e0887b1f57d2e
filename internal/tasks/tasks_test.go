package tasks_test

import (
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tgfleet/tgfleet/internal/accept/batch"
	"github.com/tgfleet/tgfleet/internal/content"
	"github.com/tgfleet/tgfleet/internal/ingest"
	"github.com/tgfleet/tgfleet/internal/localservers"
	"github.com/tgfleet/tgfleet/internal/queue"
	"github.com/tgfleet/tgfleet/internal/queue/queuetest"
	"github.com/tgfleet/tgfleet/internal/store"
	"github.com/tgfleet/tgfleet/internal/tasks"
)

const (
	countUpdates  = `SELECT count(*) FROM updates`
	countMessages = `SELECT count(*) FROM messages`
	countDead     = `SELECT count(*) FROM dead_letters`
	countSpool    = `SELECT count(*) FROM spool`
)

func TestQueuedUpdatesBecomeRowsOnceHoweverOftenTheyCome(t *testing.T) {
	t.Parallel()
	w := setup(t, nil)
	for range 3 {
		for from := 1; from <= 200; from += 20 {
			w.put(batch.Batch{Envelopes: messages(from, from+19)})
		}
	}
	w.serve()
	w.eventually(countMessages, 200)
	require.Eventually(t, func() bool { return w.metric("tgfleet_archive_updates_total", "repeat") >= 400 },
		10*time.Second, time.Millisecond)
	require.Equal(t, 200, w.query(`SELECT count(*) FROM message_revisions`))
	require.Equal(t, 401, w.query(`SELECT count(*) FROM platform_events`), "created and revised, once each, and one chat")
	require.Equal(t, 0, w.query(countDead))
	require.InDelta(t, 600, w.metric("tgfleet_archive_kinds_total", "message"), 0)
	require.InDelta(t, 401, w.metric("tgfleet_archive_events_total", ""), 0)
}

func TestUpdateThatNobodyCanReadDiesAlone(t *testing.T) {
	t.Parallel()
	w := setup(t, nil)
	envelopes := messages(1, 10)
	envelopes[3] = envelope(`{"update_id": 4, "message": "` + canary + `"}`)
	envelopes[7] = envelope(`<html>` + canary)
	w.put(batch.Batch{Envelopes: envelopes})
	w.serve()
	w.eventually(countMessages, 8)
	w.eventually(countDead, 2)
	require.Equal(t, 1, w.query(`SELECT count(*) FROM dead_letters WHERE class = 'malformed' AND update_id = 4`))
	require.Equal(t, 1, w.query(`SELECT count(*) FROM dead_letters WHERE class = 'not_json' AND update_id = 0`))
	require.Equal(t, 0, w.query(`SELECT count(*) FROM dead_letters WHERE error LIKE '%`+canary+`%'`))
	require.Equal(t, 2, w.query(`SELECT count(*) FROM dead_letters WHERE position('`+canary+`'::bytea in payload) > 0`),
		"the bytes are kept")
}

func TestUpdateThatTheDatabaseRefusesDiesAlone(t *testing.T) {
	t.Parallel()
	w := setup(t, spoilt{3: true, 11: true})
	w.put(batch.Batch{Envelopes: messages(1, 20)})
	w.put(batch.Batch{Envelopes: messages(21, 40)})
	w.serve()
	w.eventually(countMessages, 38)
	w.eventually(countDead, 2)
	require.Equal(t, 2, w.query(`SELECT count(*) FROM dead_letters WHERE class = 'refused_by_database' AND update_id IN (`+ids(3, 11)+`)`))
	require.InDelta(t, 2, w.metric("tgfleet_archive_dead_letters_total", "refused_by_database"), 0)
	require.Eventually(t, func() bool { return w.metric("tgfleet_archive_batches_total", "cut") >= 1 }, 10*time.Second, time.Millisecond)
}

// failOn makes the database fail with a code and a reason whenever the message 5 is written.
func (w *worker) failOn(code, reason string) {
	w.exec(`CREATE FUNCTION fail() RETURNS trigger AS $$ BEGIN
		IF NEW.message_id = 5 THEN RAISE EXCEPTION '` + reason + `' USING ERRCODE = '` + code + `'; END IF;
		RETURN NEW; END $$ LANGUAGE plpgsql;
		CREATE TRIGGER fail BEFORE INSERT OR UPDATE ON messages FOR EACH ROW EXECUTE FUNCTION fail()`)
}

func TestFailureThatNobodyKnowsKillsAtTheThirdTimeAndOnlyTheUpdateToBlame(t *testing.T) {
	t.Parallel()
	w := setup(t, nil)
	w.failOn("P0001", canary)
	w.put(batch.Batch{Envelopes: messages(1, 9)})
	w.serve()
	w.eventually(countDead, 1)
	w.eventually(countMessages, 8)
	require.Equal(t, 1, w.query(`SELECT count(*) FROM dead_letters WHERE class = 'failed_repeatedly' AND update_id = 5`))
	require.Contains(t, w.log.String(), `"result":"retried"`, "twice it was only retried")
}

func TestUnknownFailureKillsNoSoonerBesideAKnownOne(t *testing.T) {
	t.Parallel()
	w := setup(t, spoilt{3: true})
	w.failOn("P0001", canary)
	w.put(batch.Batch{Envelopes: messages(1, 9)})
	w.serve()
	w.eventually(countDead, 2)
	w.eventually(countMessages, 7)
	require.Equal(t, 1, w.query(`SELECT count(*) FROM dead_letters WHERE class = 'failed_repeatedly' AND update_id = 5`))
	require.GreaterOrEqual(t, retriedTimes(w), 2)
}

func TestOutageKillsNothingHoweverLong(t *testing.T) {
	t.Parallel()
	for name, code := range map[string]string{
		"deadlock": "40P01", "resources": "53300", "shutdown": "57P01",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := setup(t, nil)
			w.failOn(code, "out of order")
			envelopes := messages(1, 9)
			envelopes[6].ReceivedAt = envelopes[6].ReceivedAt.Add(-time.Hour)
			w.put(batch.Batch{Envelopes: envelopes})
			w.serve()
			require.Eventually(t, func() bool { return retriedTimes(w) >= 4 }, 30*time.Second, 5*time.Millisecond)
			require.Equal(t, 0, w.query(countMessages), "the batch waits whole")
			require.GreaterOrEqual(t, w.metric("tgfleet_archive_batches_total", "retried"), 4.0)
			depth, err := w.queue.Depth(t.Context(), tasks.IngestClass)
			require.NoError(t, err)
			require.GreaterOrEqual(t, depth.Oldest, time.Hour, "counted from the receipt")
			w.exec(`DROP TRIGGER fail ON messages`)
			w.eventually(countMessages, 9)
			require.Equal(t, 0, w.query(countDead))
		})
	}
}

func retriedTimes(w *worker) int { return strings.Count(w.log.String(), `"result":"retried"`) }

func TestBatchesThatComeTogetherWaitForATransaction(t *testing.T) {
	t.Parallel()
	const batches = 16
	w := setup(t, nil)
	held, err := w.sql.BeginTx(t.Context(), nil)
	require.NoError(t, err)
	_, err = held.ExecContext(t.Context(), "LOCK TABLE updates IN EXCLUSIVE MODE")
	require.NoError(t, err)
	for id := range batches {
		_, err := w.db.Spool().Put(t.Context(), spooled(message(2*id+1), message(2*id+2)))
		require.NoError(t, err)
	}

	w.drain()
	// The first transaction takes what has come by then, which may be everything.
	w.eventually("SELECT (count(*) BETWEEN 1 AND 2)::int FROM pg_locks WHERE relation = 'updates'::regclass AND NOT granted", 1)
	require.NoError(t, held.Rollback())

	w.eventually(countMessages, 2*batches)
	require.Zero(t, retriedTimes(w), "log: %s", w.log)
}

func TestBatchesWaitForADatabaseThatWentAway(t *testing.T) {
	t.Parallel()
	server, err := localservers.StartPostgres(t.Context(), localservers.PostgresOptions{
		Settings: []string{"synchronous_commit=on"}, // what was committed before the crash must be there after it
	})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, server.Stop()) })
	require.NoError(t, server.CreateDatabase(t.Context(), "archive", ""))
	url := server.URL("archive")
	require.NoError(t, postgres.Migrate(t.Context(), url))
	w := setupOn(t, url, nil)
	w.serve()
	w.put(batch.Batch{Envelopes: messages(1, 5)})
	w.eventually(countMessages, 5)

	require.NoError(t, server.Kill())
	w.put(batch.Batch{Envelopes: messages(6, 10)})
	require.Eventually(t, func() bool { return retriedTimes(w) >= 2 }, 30*time.Second, 5*time.Millisecond)
	require.NoError(t, server.Restart(t.Context()))
	require.Eventually(t, func() bool {
		var n int
		return w.sql.QueryRowContext(t.Context(), countMessages).Scan(&n) == nil && n == 10
	}, 30*time.Second, 10*time.Millisecond, "log: %s", w.log)
	require.Equal(t, 0, w.query(countDead))
}

func TestPayloadThatCannotBeOpenedIsKept(t *testing.T) {
	t.Parallel()
	w := setup(t, nil)
	raw := queue.Route[[]byte]{
		Task: "ingest", Class: "ingest",
		Encode: func(b []byte) ([]byte, error) { return b, nil },
		Decode: func(b []byte) ([]byte, error) { return b, nil },
	}
	require.NoError(t, queue.Put(t.Context(), w.queue.Client, raw, []byte("\x09"+canary)))
	_, err := w.db.Spool().Put(t.Context(), ingest.Spooled{Payload: []byte("\x08" + canary), Updates: 1, OldestAt: time.Now()})
	require.NoError(t, err)
	w.put(batch.Batch{Envelopes: messages(1, 3)})
	w.serve()
	w.drain()
	w.eventually(countDead, 2)
	w.eventually(countMessages, 3)
	w.eventually(countSpool, 0)
	letters, err := w.db.DeadLetters().List(t.Context(), store.DeadLetterFilter{Class: "undecodable_batch"}, 10)
	require.NoError(t, err)
	require.Len(t, letters, 2)
}

func TestBatchThatCouldNotBeOpenedComesBackOnceItCanBe(t *testing.T) {
	t.Parallel()
	w := setup(t, nil)
	_, err := w.db.Spool().Put(t.Context(), ingest.Spooled{Payload: []byte("\x08" + canary), Updates: 1, OldestAt: time.Now()})
	require.NoError(t, err)
	w.drain()
	w.eventually(countDead, 1)
	retry := func() {
		_, err := w.db.DeadLetters().Retry(t.Context(), store.DeadLetterFilter{}, func(envelopes []ingest.Envelope) ([]byte, error) {
			return batch.Encode(batch.Batch{Envelopes: envelopes}), nil
		})
		require.NoError(t, err)
	}
	retry()
	w.eventually(`SELECT count(*) FROM dead_letters WHERE class = 'undecodable_batch'`, 1)

	// A newer program can open it: here the payload changes in place of the program.
	_, err = w.sql.ExecContext(t.Context(), `UPDATE dead_letters SET payload = $1`, batch.Encode(batch.Batch{Envelopes: messages(1, 7)}))
	require.NoError(t, err)
	retry()
	w.eventually(countMessages, 7)
	require.Equal(t, 0, w.query(countDead))
}

func TestSpoolIsDrainedByTheSameRules(t *testing.T) {
	t.Parallel()
	w := setup(t, spoilt{107: true})
	for from := 1; from <= 200; from += 10 {
		_, err := w.db.Spool().Put(t.Context(), spooled(messages(from, from+9)...))
		require.NoError(t, err)
	}
	w.drain()
	w.eventually(countMessages, 199)
	w.eventually(countDead, 1)
	w.eventually(countSpool, 0)
}

func TestWorkerTellsHowMuchWaitsInTheSpoolAndForHowLong(t *testing.T) {
	t.Parallel()
	w := setup(t, nil)
	for i, age := range []time.Duration{time.Minute, time.Hour} {
		row := spooled(messages(10*i+1, 10*i+4)...)
		row.OldestAt, row.DueAt = time.Now().Add(-age), time.Now().Add(time.Hour)
		_, err := w.db.Spool().Put(t.Context(), row)
		require.NoError(t, err)
	}
	w.drain()
	sees := func(updates, leastAge, mostAge float64) func() bool {
		return func() bool {
			age := w.metric("tgfleet_spool_oldest_age_seconds", "")
			return w.metric("tgfleet_spool_updates", "") == updates && age >= leastAge && age <= mostAge
		}
	}
	require.Eventually(t, sees(8, 3600, 4000), 30*time.Second, 5*time.Millisecond)
	w.exec(`UPDATE spool SET due_at = statement_timestamp()`)
	require.Eventually(t, sees(0, 0, 0), 30*time.Second, 5*time.Millisecond)
	require.Equal(t, 8, w.query(countMessages))
}

func TestSpooledBatchThatKeepsFailingCountsItsFailures(t *testing.T) {
	t.Parallel()
	w := setup(t, nil)
	w.failOn("P0001", canary)
	_, err := w.db.Spool().Put(t.Context(), spooled(messages(1, 9)...))
	require.NoError(t, err)
	w.drain()
	w.eventually(countDead, 1)
	w.eventually(countMessages, 8)
	w.eventually(countSpool, 0)
}

func TestTaskTakesItsSpoolRowAlong(t *testing.T) {
	t.Parallel()
	w := setup(t, nil)
	row := spooled(messages(1, 4)...)
	row.DueAt = time.Now().Add(time.Hour)
	id, err := w.db.Spool().Put(t.Context(), row)
	require.NoError(t, err)
	w.put(batch.Batch{SpoolID: id, Envelopes: messages(1, 4)})
	w.serve()
	w.eventually(countMessages, 4)
	require.Equal(t, 0, w.query(countSpool), "deleted in the same transaction")
}

func TestReceivedAtSurvivesTheWay(t *testing.T) {
	t.Parallel()
	w := setup(t, nil)
	env := message(1)
	env.ReceivedAt = time.Date(2026, 11, 20, 23, 59, 59, 999999000, time.UTC)
	w.put(batch.Batch{Envelopes: []ingest.Envelope{env}})
	w.serve()
	w.eventually(countUpdates, 1)
	rows, err := w.db.Ledger().Show(t.Context(), env.Source, 1)
	require.NoError(t, err)
	require.True(t, env.ReceivedAt.Equal(rows[0].ReceivedAt), "%s", rows[0].ReceivedAt)
	require.Equal(t, string(env.Raw), string(rows[0].Payload))
}

func TestReceiverWhoseClockIsAheadMakesNoAgeNegative(t *testing.T) {
	t.Parallel()
	w := setup(t, nil)
	ahead, old := message(1), message(2)
	ahead.ReceivedAt = ahead.ReceivedAt.Add(time.Hour)
	old.ReceivedAt = old.ReceivedAt.Add(-time.Minute)
	w.put(batch.Batch{Envelopes: []ingest.Envelope{ahead, old}})
	w.serve()
	require.Eventually(t, func() bool { return w.metric("tgfleet_archive_update_age_seconds", "") >= 60 }, queuetest.Within, time.Millisecond)
}

func TestOutageOfTheDatabaseIsNoCrashAndIsToldOnce(t *testing.T) {
	t.Parallel()
	server, err := localservers.StartPostgres(t.Context(), localservers.PostgresOptions{
		Settings: []string{"synchronous_commit=on"}, // what was put before the crash must be there after it
	})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, server.Stop()) })
	require.NoError(t, server.CreateDatabase(t.Context(), "archive", ""))
	url := server.URL("archive")
	require.NoError(t, postgres.Migrate(t.Context(), url))
	slow := slowly{normalising: make(chan struct{}), goOn: make(chan struct{})}
	w := setupOn(t, url, slow)
	_, err = w.db.Spool().Put(t.Context(), spooled(messages(1, 5)...))
	require.NoError(t, err)
	w.drain()
	queuetest.Receive(t, slow.normalising)
	require.NoError(t, server.Kill())
	close(slow.goOn)
	require.Eventually(t, func() bool { return strings.Contains(w.log.String(), "spool not read") }, 30*time.Second, 5*time.Millisecond)
	turns := time.NewTimer(4 * time.Second) // several turns
	defer turns.Stop()
	<-turns.C
	require.NoError(t, server.Restart(t.Context()))
	require.Eventually(t, func() bool {
		var n int
		return w.sql.QueryRowContext(t.Context(), countSpool).Scan(&n) == nil && n == 0
	}, 30*time.Second, 10*time.Millisecond, "log: %s", w.log)
	require.Equal(t, 5, w.query(countMessages))
	log := w.log.String()
	require.NotContains(t, log, `"crashes":1`)
	require.Equal(t, 1, strings.Count(log, "spool not read"), log)
	require.Equal(t, 1, strings.Count(log, "spool read again"))
	require.NotContains(t, log, "spool not counted")
}

func TestLiveWorkerHoldsItsRowsOn(t *testing.T) {
	t.Parallel()
	slow := slowly{normalising: make(chan struct{}), goOn: make(chan struct{})}
	w := setup(t, slow)
	_, err := w.db.Spool().Put(t.Context(), spooled(messages(1, 5)...))
	require.NoError(t, err)
	w.drain()
	goOn := sync.OnceFunc(func() { close(slow.goOn) })
	t.Cleanup(goOn)
	queuetest.Receive(t, slow.normalising)
	heldUntil := func() (at time.Time) {
		require.NoError(t, w.sql.QueryRowContext(t.Context(), "SELECT due_at FROM spool").Scan(&at))
		return at
	}
	first := heldUntil()
	require.Eventually(t, func() bool { return heldUntil().After(first) }, queuetest.Within, 100*time.Millisecond)
	goOn()
	w.eventually(countSpool, 0)
	require.Equal(t, 5, w.query(countMessages))
	require.NotContains(t, w.log.String(), `"crashes":1`)
}

// slowly is the real normaliser, which says when it begins and goes on when it may.
type slowly struct{ normalising, goOn chan struct{} }

func (s slowly) Normalise(env ingest.Envelope) (content.ChangeSet, error) {
	select {
	case s.normalising <- struct{}{}:
	case <-s.goOn:
	}
	<-s.goOn
	return normalisers().Normalise(env)
}
