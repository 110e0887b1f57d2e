package store_test

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/tgfleet/tgfleet/internal/content"
	"github.com/tgfleet/tgfleet/internal/fault"
	"github.com/tgfleet/tgfleet/internal/seal"
	"github.com/tgfleet/tgfleet/internal/store"
)

func TestAWrongURLSaysWhatWouldBeRightAndKeepsThePassword(t *testing.T) {
	t.Parallel()
	for name, url := range map[string]string{
		"empty":            "",
		"another database": "mysql://user:hunter2@host/db",
		"a bare path":      "/var/lib/hunter2.db",
		"no file":          "sqlite:",
		"memory":           "sqlite::memory:",
		"unescaped":        "postgres://user:hunter2/x@host:5432/db",
		"bad escape":       "postgres://user:hunter2%zz@host/db",
		"bad port":         "postgres://user:hunter2@host:port/db",
		"bad setting":      "postgres://user:hunter2@host/db?connect_timeout=hunter2",
		"bad mode":         "postgres://user:hunter2@host/db?sslmode=maybe",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := store.Open(t.Context(), seal.Secret(url), store.Options{})
			require.Equal(t, fault.Permanent, fault.ClassOf(err))
			require.ErrorContains(t, err, "want postgres://USER:PASSWORD@HOST:PORT/NAME")
			require.ErrorContains(t, err, "or sqlite:PATH")
			require.NotContains(t, err.Error(), "hunter2")
		})
	}
	_, err := store.Open(t.Context(), "postgres://user:hunter2@host/db?sslmode=maybe", store.Options{})
	require.ErrorContains(t, err, "sslmode", "a reason that is no secret is told")
}

func TestADatabaseThatIsAwayIsTransientAndKeepsThePassword(t *testing.T) {
	t.Parallel()
	for name, url := range map[string]string{
		"postgres": "postgres://user:hunter2@127.0.0.1:1/db?sslmode=disable",
		"sqlite":   "sqlite:" + filepath.Join(t.TempDir(), "missing", "fleet.db"),
	} {
		db, err := store.Open(t.Context(), seal.Secret(url), store.Options{})
		if err == nil {
			err = db.Ping(t.Context())
			require.NoError(t, db.Close())
		}
		require.Equal(t, fault.Transient, fault.ClassOf(err), name)
		require.NotContains(t, err.Error(), "hunter2")
	}
}

func TestAMigratedDatabaseIsCurrentAndMigratesAgain(t *testing.T) {
	t.Parallel()
	eachDatabase(t, func(t *testing.T, open func(t *testing.T) *store.DB) {
		db := open(t)
		require.NoError(t, db.Ping(t.Context()))
		require.NoError(t, db.CheckSchema(t.Context()))
		require.NoError(t, db.Migrate(t.Context()))
		require.NoError(t, db.CheckSchema(t.Context()))

		_, err := db.SQL().ExecContext(t.Context(), "INSERT INTO goose_db_version (version_id, is_applied) VALUES (99999, true)")
		require.NoError(t, err)
		require.NoError(t, db.CheckSchema(t.Context()), "a newer schema serves an older program")
	})
}

// emptyDatabases returns the URLs of databases without a schema, by kind.
func emptyDatabases(t *testing.T) map[string]string {
	t.Helper()
	postgres := postgresURL(t)
	db := open(t, postgres)
	_, err := db.SQL().ExecContext(t.Context(), "DROP SCHEMA public CASCADE; CREATE SCHEMA public")
	require.NoError(t, err)
	return map[string]string{"postgres": postgres, "sqlite": "sqlite:" + filepath.Join(t.TempDir(), "fleet.db")}
}

func TestAnEmptyDatabaseSaysWhatToRunAndStaysEmpty(t *testing.T) {
	t.Parallel()
	for name, url := range emptyDatabases(t) {
		db := open(t, url)
		for range 2 {
			require.ErrorContains(t, db.CheckSchema(t.Context()), "run `tgfleet migrate`", name)
		}
		var tables int
		catalogue := map[string]string{
			"postgres": "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'", "sqlite": "SELECT count(*) FROM sqlite_master",
		}
		require.NoError(t, db.SQL().QueryRowContext(t.Context(), catalogue[name]).Scan(&tables))
		require.Zero(t, tables, name)
	}
}

func TestProcessesThatStartAtOnceMigrateTogether(t *testing.T) {
	t.Parallel()
	databases := emptyDatabases(t)
	// SQLite's race is narrow: several files see it.
	for i := range 8 {
		databases[fmt.Sprint("sqlite ", i)] = "sqlite:" + filepath.Join(t.TempDir(), fmt.Sprint(i, ".db"))
	}
	for name, url := range databases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var group errgroup.Group
			for range 6 {
				group.Go(func() error { return migrate(t.Context(), url) })
			}
			require.NoError(t, group.Wait())
			require.NoError(t, open(t, url).CheckSchema(t.Context()))
		})
	}
}

func TestEverySQLiteConnectionIsDurableAndWaits(t *testing.T) {
	t.Parallel()
	url := "sqlite:" + filepath.Join(t.TempDir(), "a b?c#d%41&e.db")
	require.NoError(t, migrate(t.Context(), url))
	db := open(t, url)
	for range 3 {
		conn, err := db.SQL().Conn(t.Context())
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, conn.Close()) })
		for pragma, want := range map[string]string{"journal_mode": "wal", "synchronous": "2", "busy_timeout": "10000"} {
			var got string
			require.NoError(t, conn.QueryRowContext(t.Context(), "PRAGMA "+pragma).Scan(&got))
			require.Equal(t, want, got, pragma)
		}
	}
	files, err := filepath.Glob(filepath.Join(filepath.Dir(strings.TrimPrefix(url, "sqlite:")), "a b*.db"))
	require.NoError(t, err)
	require.Equal(t, []string{strings.TrimPrefix(url, "sqlite:")}, files)
}

func TestSQLiteOrdersTimesAsTheirTexts(t *testing.T) {
	t.Parallel()
	db := open(t, sqliteURL(t))
	whole := time.Date(2026, 3, 1, 12, 0, 0, 0, time.FixedZone("east", 3*3600))
	times := []time.Time{
		whole, whole.Add(time.Microsecond), whole.Add(500 * time.Millisecond), whole.Add(500_001 * time.Microsecond),
		whole.Add(999_999 * time.Microsecond), whole.Add(time.Second).UTC(),
	}
	var changes []content.ChangeSet
	for i, at := range times {
		changes = append(changes, received(int64(i), at))
	}
	_, err := db.Archive().Apply(t.Context(), content.Batch{Changes: changes})
	require.NoError(t, err)
	rows, err := db.SQL().QueryContext(t.Context(), "SELECT received_at, received_at || '' FROM updates ORDER BY received_at")
	require.NoError(t, err)
	defer func() { require.NoError(t, rows.Close()) }()
	var texts []string
	for rows.Next() {
		var at time.Time
		var text string
		require.NoError(t, rows.Scan(&at, &text))
		require.WithinDuration(t, times[len(texts)], at, 0)
		texts = append(texts, text)
	}
	require.NoError(t, rows.Err())
	require.Equal(t, []string{
		"2026-03-01 09:00:00.000000+00:00", "2026-03-01 09:00:00.000001+00:00", "2026-03-01 09:00:00.500000+00:00",
		"2026-03-01 09:00:00.500001+00:00", "2026-03-01 09:00:00.999999+00:00", "2026-03-01 09:00:01.000000+00:00",
	}, texts)
}

// TestSQLiteWritersOfTwoProcessesWait has two DBs on one file: within one DB, writers already wait for each other in Go.
func TestSQLiteWritersOfTwoProcessesWait(t *testing.T) {
	t.Parallel()
	url := sqliteURL(t)
	var group errgroup.Group
	for range 2 {
		db := open(t, url)
		group.Go(func() error {
			for range 40 {
				if err := db.Archive().Probe(t.Context()); err != nil {
					return err
				}
			}
			return nil
		})
	}
	require.NoError(t, group.Wait())
	var writes int
	require.NoError(t, open(t, url).SQL().QueryRowContext(t.Context(), "SELECT writes FROM probes").Scan(&writes))
	require.Equal(t, 80, writes)
}

func TestASQLiteTransactionHasTheWriteLockFromItsBeginning(t *testing.T) {
	t.Parallel()
	url := sqliteURL(t)
	first, err := open(t, url).SQL().BeginTx(t.Context(), nil)
	require.NoError(t, err)
	defer func() { require.NoError(t, first.Rollback()) }()
	second, err := open(t, url).SQL().Conn(t.Context())
	require.NoError(t, err)
	defer func() { require.NoError(t, second.Close()) }()
	_, err = second.ExecContext(t.Context(), "PRAGMA busy_timeout = 1")
	require.NoError(t, err)
	tx, err := second.BeginTx(t.Context(), nil)
	if err == nil {
		require.NoError(t, tx.Rollback())
	}
	require.Equal(t, fault.Transient, fault.ClassOf(store.Classify(err)), "%v", err)
}

func TestASQLiteWriterWaitsNoLongerThanItsCaller(t *testing.T) {
	t.Parallel()
	db := open(t, sqliteURL(t))
	release := db.HoldWrites()
	defer release()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	err := db.Archive().Probe(ctx)
	require.Equal(t, fault.Transient, fault.ClassOf(err))
	require.ErrorIs(t, err, context.DeadlineExceeded)
}

func TestMetricsTellWhenCallsWaitForAConnection(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewRegistry()
	opts := store.Options{Registerer: registry, MaxConns: 1}
	db, err := store.Open(t.Context(), seal.Secret(sqliteURL(t)), opts)
	require.NoError(t, err)
	read := func() (inUse, waits float64) {
		families, err := registry.Gather()
		require.NoError(t, err)
		require.Len(t, families, 2)
		require.Equal(t, "tgfleet_store_connection_waits_total", families[0].GetName())
		require.Equal(t, "tgfleet_store_connections_in_use", families[1].GetName())
		return families[1].GetMetric()[0].GetGauge().GetValue(), families[0].GetMetric()[0].GetCounter().GetValue()
	}
	is := func(inUse, waits float64) {
		t.Helper()
		nowInUse, nowWaits := read()
		require.InDelta(t, inUse, nowInUse, 0)
		require.InDelta(t, waits, nowWaits, 0)
	}
	is(0, 0)
	only, err := db.SQL().Conn(t.Context())
	require.NoError(t, err)
	is(1, 0)
	pinged := make(chan error, 1)
	go func() { pinged <- db.Ping(t.Context()) }()
	require.Eventually(t, func() bool { _, waits := read(); return waits == 1 }, 30*time.Second, time.Millisecond)
	require.NoError(t, only.Close())
	require.NoError(t, <-pinged)
	is(0, 1)
	require.NoError(t, db.Close())

	_, err = store.Open(t.Context(), seal.Secret(sqliteURL(t)), opts)
	require.ErrorContains(t, err, "register the metrics of the store")
}
