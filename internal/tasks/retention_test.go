package tasks_test

import (
	"database/sql"
	"fmt"
	"log/slog"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/tgfleet/tgfleet/internal/content"
	"github.com/tgfleet/tgfleet/internal/ingest"
	"github.com/tgfleet/tgfleet/internal/obs"
	"github.com/tgfleet/tgfleet/internal/seal"
	"github.com/tgfleet/tgfleet/internal/store"
	"github.com/tgfleet/tgfleet/internal/tasks"
	"github.com/tgfleet/tgfleet/internal/testkit"
)

// keeper is a worker that only keeps house, on a clock of its own and with a retention of two days.
type keeper struct {
	*worker
	now          time.Time
	housekeeping *tasks.Housekeeping
	onPostgres   bool
}

func setupKeeper(t *testing.T, url string) *keeper {
	t.Helper()
	k := &keeper{worker: &worker{t: t, registry: prometheus.NewRegistry(), log: &testkit.Buffer{}}}
	var err error
	k.db, err = store.Open(t.Context(), seal.Secret(url), store.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, k.db.Close()) })
	require.NoError(t, k.db.Migrate(t.Context()))
	driver, name := "pgx", url
	if path, isFile := strings.CutPrefix(url, "sqlite:"); isFile {
		driver, name = "sqlite", path
	}
	k.onPostgres = driver == "pgx"
	k.sql, err = sql.Open(driver, name)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, k.sql.Close()) })
	k.housekeeping = tasks.NewHousekeeping(tasks.HousekeepingConfig{
		Ledger: k.db.Archive(), DeadLetters: k.db.DeadLetters(), Retention: 48 * time.Hour,
		Now: func() time.Time { return k.now },
		Log: slog.New(slog.NewJSONHandler(k.log, nil)), Registerer: k.registry,
		Beat: obs.NewHealth().Loop("housekeeping", time.Minute),
	})
	return k
}

// march is a day of the March of the test; the 32nd is the first of April.
func march(day int) time.Time { return time.Date(2025, 3, day, 0, 0, 0, 0, time.UTC) }

func sortable(at time.Time) string { return "'" + at.Format("2006-01-02 15:04:05.000000+00:00") + "'" }

// at moves the clock and lets the keeper take a turn.
func (k *keeper) at(now time.Time) {
	k.t.Helper()
	k.now = now
	k.housekeeping.Turn(k.t.Context())
}

// receives applies an update for each of these days of March, whose id is that of the day.
func (k *keeper) receives(days ...int) {
	k.t.Helper()
	for _, day := range days {
		env := message(day)
		env.ReceivedAt = march(day).Add(23 * time.Hour)
		change, err := normalisers().Normalise(env)
		require.NoError(k.t, err)
		_, err = k.db.Archive().Apply(k.t.Context(), content.Batch{Changes: []content.ChangeSet{change}})
		require.NoError(k.t, err)
	}
}

// readable returns which of these days the ledger has its update of.
func (k *keeper) readable(days ...int) (readable []int) {
	k.t.Helper()
	for _, day := range days {
		if rows, err := k.db.Ledger().Show(k.t.Context(), ingest.Source{Transport: ingest.BotAPI, Account: 42}, int64(day)); err == nil {
			require.Equal(k.t, message(day).Raw, rows[0].Payload)
			readable = append(readable, day)
		}
	}
	return readable
}

// prepared requires that of the days of March those from first to last are partitions, and no others.
func (k *keeper) prepared(first, last int) {
	k.t.Helper()
	if !k.onPostgres {
		return
	}
	for day := first - 10; day <= last+10; day++ {
		exists := k.query("SELECT count(*) FROM pg_class WHERE relname = 'updates_" + march(day).Format("20060102") + "'")
		require.Equal(k.t, day >= first && day <= last, exists == 1, "partition of %s", march(day))
	}
}

// overdue requires that so many days are told of as kept for each reason.
func (k *keeper) overdue(events, letters, replays int) {
	k.t.Helper()
	for reason, n := range map[string]int{"unrelayed_events": events, "open_dead_letters": letters, "running_replay": replays, "undecided": 0} {
		require.InDelta(k.t, n, k.metric("tgfleet_ledger_days_overdue", reason), 0, reason)
	}
}

func TestTheLedgerIsPreparedAndTrimmedOverThreeMidnights(t *testing.T) {
	t.Parallel()
	for name, url := range map[string]func() string{
		"postgres": func() string { return postgres.Database(t) },
		"sqlite":   func() string { return "sqlite:" + filepath.Join(t.TempDir(), "fleet.db") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			threeMidnights(setupKeeper(t, url()))
		})
	}
}

func threeMidnights(k *keeper) {
	all := []int{26, 27, 28, 29, 30, 31, 32}
	dropped := func() float64 { return k.metric("tgfleet_ledger_days_dropped_total", "") }
	require.NoError(k.t, k.db.Archive().PreparePartitions(k.t.Context(), march(26), 3))
	k.receives(26, 28, 29, 30)
	relayed := k.query("SELECT max(sequence) FROM platform_events")
	k.exec("INSERT INTO subscribers (name, relayed_through) VALUES ('slow', " + strconv.Itoa(relayed) + ")")
	k.receives(27)

	k.at(march(29).Add(23*time.Hour + 59*time.Minute))
	k.prepared(27, 32)
	require.Equal(k.t, []int{27, 28, 29, 30}, k.readable(all...))
	require.InDelta(k.t, 1, dropped(), 0)
	k.overdue(0, 0, 0)

	// The first midnight: somebody has not taken the events of the 27th.
	k.at(march(30).Add(time.Minute))
	k.prepared(27, 33)
	k.overdue(1, 0, 0)
	require.Equal(k.t, []int{27, 28, 29, 30}, k.readable(all...))
	k.exec("UPDATE subscribers SET relayed_through = 1000000")
	k.receives(31)

	// The second: the 27th is free, and a letter of the 28th is open.
	_, err := k.db.Archive().Apply(k.t.Context(), content.Batch{DeadLetters: []ingest.DeadLetter{{
		Envelope: ingest.Envelope{
			Source: ingest.Source{Transport: ingest.BotAPI, Account: 42}, ReceivedAt: march(28).Add(time.Hour), Raw: []byte("{"),
		},
		Class: "not_json", DiedAt: march(28),
	}}})
	require.NoError(k.t, err)
	k.at(march(31).Add(time.Minute))
	k.prepared(28, 34)
	k.overdue(0, 1, 0)
	require.Equal(k.t, []int{28, 29, 30, 31}, k.readable(all...))
	require.InDelta(k.t, 2, dropped(), 0)
	k.exec("DELETE FROM dead_letters")
	k.receives(32)

	// The third: the 28th is free, and a replay runs over the 29th.
	k.exec(fmt.Sprintf(`INSERT INTO replays (normaliser_version, received_from, received_to, source, kind, started_at, held_until)
		VALUES (1, %s, %s, '', '', %[1]s, %[3]s)`, sortable(march(29)), sortable(march(30)), sortable(time.Now().Add(time.Hour).UTC())))
	k.at(march(32).Add(time.Minute))
	k.prepared(29, 35)
	k.overdue(0, 0, 1)
	require.Equal(k.t, []int{29, 30, 31, 32}, k.readable(all...))
	require.InDelta(k.t, 3, dropped(), 0)

	k.exec("UPDATE replays SET finished_at = " + sortable(time.Now().UTC()))
	k.at(march(32).Add(11 * time.Minute))
	k.prepared(30, 35)
	k.overdue(0, 0, 0)
	require.Equal(k.t, []int{30, 31, 32}, k.readable(all...))
	require.InDelta(k.t, 4, dropped(), 0)
	require.Equal(k.t, len(all), k.query("SELECT count(*) FROM messages"), "what was made of the updates stays")
	require.Equal(k.t, 4, strings.Count(k.log.String(), `"ledger trimmed"`))
	require.Contains(k.t, k.log.String(), `"dropped":1,"kept":{"open_dead_letters":1,"running_replay":0,"undecided":0,"unrelayed_events":0}`)
	require.NotContains(k.t, k.log.String(), `"level":"ERROR"`)
}

func TestALedgerThatCantBeTrimmedIsToldOf(t *testing.T) {
	t.Parallel()
	k := setupKeeper(t, postgres.Database(t))
	require.NoError(t, k.db.Archive().PreparePartitions(t.Context(), march(1), 3))
	tx, err := k.sql.BeginTx(t.Context(), nil)
	require.NoError(t, err)
	_, err = tx.ExecContext(t.Context(), "LOCK TABLE updates_20250302 IN ACCESS SHARE MODE")
	require.NoError(t, err)
	k.at(time.Now())
	require.InDelta(t, 1, k.metric("tgfleet_ledger_days_dropped_total", ""), 0)
	require.InDelta(t, 2, k.metric("tgfleet_ledger_days_overdue", "undecided"), 0)
	require.Contains(t, k.log.String(), `"level":"ERROR","msg":"ledger not trimmed","dropped":1`)
	require.NoError(t, tx.Rollback())

	k.exec("ALTER TABLE updates RENAME TO elsewhere")
	k.at(time.Now())
	require.InDelta(t, 2, k.metric("tgfleet_ledger_days_overdue", "undecided"), 0, "what can't be seen stays as it was seen")
	k.exec("ALTER TABLE elsewhere RENAME TO updates")
	k.at(time.Now())
	require.Zero(t, k.metric("tgfleet_ledger_days_overdue", "undecided"))
	require.InDelta(t, 3, k.metric("tgfleet_ledger_days_dropped_total", ""), 0)
}
