package tasks_test

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // reads and breaks the database behind the store's back
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/tgfleet/tgfleet/internal/accept/batch"
	"github.com/tgfleet/tgfleet/internal/content"
	"github.com/tgfleet/tgfleet/internal/ingest"
	"github.com/tgfleet/tgfleet/internal/lifecycle"
	"github.com/tgfleet/tgfleet/internal/localservers/localtest"
	"github.com/tgfleet/tgfleet/internal/normalise"
	"github.com/tgfleet/tgfleet/internal/normalise/botapi"
	"github.com/tgfleet/tgfleet/internal/obs"
	"github.com/tgfleet/tgfleet/internal/queue"
	"github.com/tgfleet/tgfleet/internal/queue/queuetest"
	"github.com/tgfleet/tgfleet/internal/seal"
	"github.com/tgfleet/tgfleet/internal/store"
	"github.com/tgfleet/tgfleet/internal/tasks"
	"github.com/tgfleet/tgfleet/internal/testkit"
)

var postgres = localtest.Postgres{Migrate: func(ctx context.Context, url string) error {
	db, err := store.Open(ctx, seal.Secret(url), store.Options{})
	if err != nil {
		return err
	}
	return errors.Join(db.Migrate(ctx), db.Close())
}}

func TestMain(m *testing.M) {
	if told := os.Getenv(childVariable); told != "" {
		workAsChild(told)
	}
	goleak.VerifyTestMain(postgres.Around(m))
}

// canary stands in every text of the tests and must never be seen in a log or an error.
const canary = "kingfisher"

// worker is a settler with its queue and its database, all real.
type worker struct {
	t        *testing.T
	db       *store.DB
	sql      *sql.DB
	queue    tasks.IngestQueue
	settler  *tasks.Settler
	registry *prometheus.Registry
	log      *testkit.Buffer
}

// setup returns a worker whose settler runs; serve and drain start the rest. A nil normaliser is the real one.
func setup(t *testing.T, normaliser tasks.Normaliser) *worker {
	t.Helper()
	return setupOn(t, postgres.Database(t), normaliser)
}

func setupOn(t *testing.T, url string, normaliser tasks.Normaliser) *worker {
	t.Helper()
	w := &worker{
		t: t, queue: tasks.IngestQueue{Client: queuetest.Client(t)}, registry: prometheus.NewRegistry(), log: &testkit.Buffer{},
	}
	var err error
	w.db, err = store.Open(t.Context(), seal.Secret(url), store.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, w.db.Close()) })
	w.sql, err = sql.Open("pgx", url)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, w.sql.Close()) })
	if normaliser == nil {
		normaliser = normalisers()
	}
	w.settler = tasks.NewSettler(tasks.SettlerConfig{
		Archive: w.db.Archive(), Normaliser: normaliser, Registerer: w.registry,
		Log: slog.New(slog.NewJSONHandler(w.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	queuetest.Run(t, lifecycle.Service{Name: "settler", Run: w.settler.Run})
	t.Cleanup(func() { require.NotContains(t, w.log.String(), canary, "the log quotes nobody") })
	return w
}

func normalisers() normalise.Set { return normalise.Set{ingest.BotAPIJSON: botapi.New()} }

// spoilt is the real normaliser with a defect: it lets U+0000 through in the updates named.
type spoilt map[int64]bool

func (s spoilt) Normalise(env ingest.Envelope) (content.ChangeSet, error) {
	cs, err := normalisers().Normalise(env)
	if err == nil && s[cs.Update.UpdateID] {
		cs.Messages[0].Text += "\x00"
	}
	return cs, err
}

func (w *worker) serve() {
	queuetest.Run(w.t, w.queue.Serve(queue.ServerConfig{
		Class: tasks.IngestClass, Concurrency: 4, Drain: 5 * time.Second,
		Handlers: []queue.Handler{tasks.HandleIngest(w.settler)}, Undecodable: w.settler.BuryMessage,
	}))
}

func (w *worker) drain() {
	drain := tasks.NewDrain(tasks.DrainConfig{
		Spool: w.db.Spool(), Settler: w.settler, Log: slog.New(slog.NewJSONHandler(w.log, nil)), Registerer: w.registry,
		Beat: obs.NewHealth().Loop("spool", time.Minute),
	})
	queuetest.Run(w.t, lifecycle.Service{Name: "spool", Run: drain.Run})
}

func (w *worker) put(b batch.Batch) {
	w.t.Helper()
	require.NoError(w.t, w.queue.Put(w.t.Context(), b))
}

// query returns the first column of the first row.
func (w *worker) query(statement string) (n int) {
	w.t.Helper()
	require.NoError(w.t, w.sql.QueryRowContext(w.t.Context(), statement).Scan(&n))
	return n
}

func (w *worker) exec(statement string) {
	w.t.Helper()
	_, err := w.sql.ExecContext(w.t.Context(), statement)
	require.NoError(w.t, err)
}

// eventually waits until statement gives n.
func (w *worker) eventually(statement string, n int) {
	w.t.Helper()
	require.Eventually(w.t, func() bool { return w.query(statement) == n }, queuetest.Within, 5*time.Millisecond,
		"%s: want %d, have %d", statement, n, w.query(statement))
}

// message is the update id, with one message of that id.
func message(id int) ingest.Envelope {
	return envelope(fmt.Sprintf(`{"update_id":%d,"message":{"message_id":%[1]d,"date":%d,`+
		`"chat":{"id":-1001000000001,"type":"supergroup","title":"Birds"},`+
		`"from":{"id":77,"is_bot":false,"first_name":"Ann"},"text":"%s %[1]d"}}`, id, 1795000000+id, canary))
}

func envelope(raw string) ingest.Envelope {
	return ingest.Envelope{
		Source:     ingest.Source{Transport: ingest.BotAPI, Account: 42},
		ReceivedAt: time.Now().UTC().Truncate(time.Microsecond),
		Origin:     ingest.Live, Format: ingest.BotAPIJSON, Raw: []byte(raw),
	}
}

func messages(from, to int) (envelopes []ingest.Envelope) {
	for id := from; id <= to; id++ {
		envelopes = append(envelopes, message(id))
	}
	return envelopes
}

func spooled(envelopes ...ingest.Envelope) ingest.Spooled {
	return ingest.Spooled{
		Payload: batch.Encode(batch.Batch{Envelopes: envelopes}), Updates: len(envelopes), OldestAt: envelopes[0].ReceivedAt,
	}
}

// metric returns the sum of the series of a counter or gauge, or of what a histogram has seen, whose last label has the value label; of all
// series when that is empty.
func (w *worker) metric(name, label string) (sum float64) {
	families, err := w.registry.Gather()
	require.NoError(w.t, err)
	for _, family := range families {
		for _, m := range family.GetMetric() {
			labels := m.GetLabel()
			if family.GetName() == name && (label == "" || labels[len(labels)-1].GetValue() == label) {
				sum += m.GetCounter().GetValue() + m.GetGauge().GetValue() + m.GetHistogram().GetSampleSum()
			}
		}
	}
	return sum
}

// ids joins numbers for an SQL list.
func ids(numbers ...int) string {
	var b bytes.Buffer
	for i, n := range numbers {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(strconv.Itoa(n))
	}
	return b.String()
}
