package tasks_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tgfleet/tgfleet/internal/accept/batch"
	"github.com/tgfleet/tgfleet/internal/ingest"
	"github.com/tgfleet/tgfleet/internal/queue"
	"github.com/tgfleet/tgfleet/internal/queue/queuetest"
	"github.com/tgfleet/tgfleet/internal/tasks"
)

func (w *worker) serveHistory() {
	queuetest.Run(w.t, w.queue.Serve(queue.ServerConfig{
		Class: tasks.BackfillClass, Concurrency: 4, Drain: 5 * time.Second,
		Handlers: []queue.Handler{tasks.HandleBackfill(w.settler)}, Undecodable: w.settler.BuryMessage,
	}))
}

func TestPagesOfHistoryAreSettled(t *testing.T) {
	t.Parallel()
	w := setup(t, nil)
	history := tasks.BackfillQueue{Client: w.queue.Client}
	page := messages(1, 5)
	for i := range page {
		page[i].Origin = ingest.Backfill
	}
	require.NoError(t, history.Put(t.Context(), page))
	require.NoError(t, history.Put(t.Context(), []ingest.Envelope{envelope("no update")}))
	waiting, err := history.Waiting(t.Context())
	require.NoError(t, err)
	require.Equal(t, 2, waiting)
	w.serveHistory()
	w.eventually(countMessages, 5)
	w.eventually(countDead, 1)
	require.Eventually(t, func() bool {
		waiting, err := history.Waiting(t.Context())
		return err == nil && waiting == 0
	}, queuetest.Within, 5*time.Millisecond)
	require.Contains(t, w.log.String(), `"from":"backfill"`)
}

// As many pages as a worker has transactions hang; what is live goes on.
func TestLiveUpdatesDoNotWaitForHistory(t *testing.T) {
	t.Parallel()
	w := setup(t, nil)
	w.serve()
	w.put(batch.Batch{Envelopes: messages(1, 4)})
	w.eventually(countMessages, 4)
	held, err := w.sql.BeginTx(t.Context(), nil)
	require.NoError(t, err)
	_, err = held.ExecContext(t.Context(), "SELECT 1 FROM messages FOR UPDATE")
	require.NoError(t, err)
	history := tasks.BackfillQueue{Client: w.queue.Client}
	for id := range 4 {
		require.NoError(t, history.Put(t.Context(), messages(id+1, id+1)))
	}
	w.serveHistory()
	const hanging = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
	require.Eventually(t, func() bool { return w.query(hanging) > 0 }, queuetest.Within, 5*time.Millisecond, "history hangs")
	for id := range 4 {
		w.put(batch.Batch{Envelopes: []ingest.Envelope{envelope(`{"update_id":1` + ids(id) + `,"message":{"message_id":9` + ids(id) +
			`,"date":1795000000,"chat":{"id":-1001000000002,"type":"supergroup","title":"Boats"},"from":{"id":78,"is_bot":false,"first_name":"Ben"}}}`)}})
	}
	w.eventually(countMessages, 8)
	require.Positive(t, w.query(hanging), "history hangs still")
	require.NoError(t, held.Rollback())
}
