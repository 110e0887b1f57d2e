package store_test

import (
	"context"
	"crypto/rand"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"
	"gorm.io/gorm"
	sqlitecode "modernc.org/sqlite/lib"

	"github.com/tgfleet/tgfleet/internal/content"
	"github.com/tgfleet/tgfleet/internal/fault"
	"github.com/tgfleet/tgfleet/internal/ingest"
	"github.com/tgfleet/tgfleet/internal/store"
)

func TestPostgresCodesHaveClasses(t *testing.T) {
	t.Parallel()
	for code, class := range map[string]fault.Class{
		"21000": fault.Permanent, "22021": fault.Permanent, "22P05": fault.Permanent, "23505": fault.Permanent, "23514": fault.Permanent,
		"54000": fault.Permanent, "54001": fault.Permanent,

		"08000": fault.Transient, "08001": fault.Transient, "08003": fault.Transient, "08004": fault.Transient, "08006": fault.Transient,
		"08007": fault.Transient, "08P01": fault.Transient,
		"53000": fault.Transient, "53100": fault.Transient, "53200": fault.Transient, "53300": fault.Transient, "53400": fault.Transient,
		"57000": fault.Transient, "57014": fault.Transient, "57P01": fault.Transient, "57P02": fault.Transient, "57P03": fault.Transient,
		"57P04": fault.Transient, "57P05": fault.Transient,
		"25006": fault.Transient, "25P03": fault.Transient, "25P04": fault.Transient,
		"40000": fault.Transient, "40001": fault.Transient, "40003": fault.Transient, "40P01": fault.Transient,
		"55006": fault.Transient, "55P03": fault.Transient, "58000": fault.Transient, "58030": fault.Transient,

		"25P02": fault.Unclassified, "40002": fault.Unclassified, "42P01": fault.Unclassified, "28P01": fault.Unclassified,
		"3D000": fault.Unclassified, "55000": fault.Unclassified, "58P01": fault.Unclassified, "0A000": fault.Unclassified,
		"XX000": fault.Unclassified, "XX001": fault.Unclassified, "XX002": fault.Unclassified, "": fault.Unclassified, "P": fault.Unclassified,
	} {
		err := store.Classify(fmt.Errorf("wrapped: %w", &pgconn.PgError{Code: code}))
		require.Error(t, err)
		require.Equal(t, class, fault.ClassOf(err), code)
	}
}

func TestSQLiteCodesHaveClasses(t *testing.T) {
	t.Parallel()
	for code, class := range map[int]fault.Class{
		sqlitecode.SQLITE_BUSY: fault.Transient, sqlitecode.SQLITE_BUSY_SNAPSHOT: fault.Transient, sqlitecode.SQLITE_LOCKED: fault.Transient,
		sqlitecode.SQLITE_IOERR_FSYNC: fault.Transient, sqlitecode.SQLITE_FULL: fault.Transient, sqlitecode.SQLITE_CANTOPEN: fault.Transient,
		sqlitecode.SQLITE_READONLY: fault.Transient, sqlitecode.SQLITE_INTERRUPT: fault.Transient,
		sqlitecode.SQLITE_CONSTRAINT_UNIQUE: fault.Permanent, sqlitecode.SQLITE_MISMATCH: fault.Permanent, sqlitecode.SQLITE_TOOBIG: fault.Permanent,
		sqlitecode.SQLITE_ERROR: fault.Unclassified, sqlitecode.SQLITE_CORRUPT: fault.Unclassified,
	} {
		require.Equal(t, class, store.ClassOfSQLite(code), code)
	}
}

func TestOtherErrorsHaveClasses(t *testing.T) {
	t.Parallel()
	for class, errs := range map[fault.Class][]error{
		fault.Transient: {
			context.Canceled, context.DeadlineExceeded, io.EOF, io.ErrUnexpectedEOF, net.ErrClosed, driver.ErrBadConn, sql.ErrConnDone,
			sql.ErrTxDone, &net.OpError{Op: "read", Err: errors.New("reset")}, &pgconn.ConnectError{},
		},
		fault.NotFound:     {sql.ErrNoRows, gorm.ErrRecordNotFound},
		fault.Unclassified: {errors.New("odd")},
	} {
		for _, err := range errs {
			classified := store.Classify(fmt.Errorf("wrapped: %w", err))
			require.Equal(t, class, fault.ClassOf(classified), "%T", err)
			require.ErrorIs(t, classified, err)
		}
	}
	require.NoError(t, store.Classify(nil))
	require.Equal(t, fault.Throttled, fault.ClassOf(store.Classify(fault.Throttle(0, io.EOF))), "a class stays")
}

func TestAnErrorNamesThePlaceAndNotTheValue(t *testing.T) {
	t.Parallel()
	answered := &pgconn.PgError{
		Code: "23505", Message: "value hunter2 is there", Detail: "Key (text)=(hunter2) already exists.", Where: "hunter2", Hint: "hunter2",
		TableName: "bots", ConstraintName: "bots_bot_id_key",
	}
	err := store.Classify(fmt.Errorf("exec: %w", answered))
	require.Equal(t, "sqlstate 23505, table bots, constraint bots_bot_id_key", err.Error())
	require.NotContains(t, fmt.Sprintf("%+v %#v", err, errors.Unwrap(err)), "hunter2")
	var hidden *pgconn.PgError
	require.NotErrorAs(t, err, &hidden)

	missing := store.Classify(&pgconn.PgError{Code: "42P01", Message: `relation "updates" does not exist`})
	require.Equal(t, `sqlstate 42P01: relation "updates" does not exist`, missing.Error())
}

// TestLimitsOfPostgresArePermanent has what Telegram never sends, and somebody else might.
func TestLimitsOfPostgresArePermanent(t *testing.T) {
	t.Parallel()
	long := strings.ToLower(rand.Text())
	for len(long) < 16<<10 { // in many steps, so that it does not compress
		long += rand.Text()
	}
	const deep = 100_000
	for name, poll := range map[string]content.Poll{
		"an id too long for an index": {ID: long, Options: "[]"},
		"JSON too deep":               {ID: "p", Options: content.JSON(strings.Repeat("[", deep) + strings.Repeat("]", deep))},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := open(t, postgresURL(t))
			change := content.ChangeSet{Polls: []content.Poll{poll}}
			change.Update.Hash = ingest.HashOf(nil)
			_, err := db.Archive().Apply(t.Context(), content.Batch{Changes: []content.ChangeSet{change}})
			require.Equal(t, fault.Permanent, fault.ClassOf(err), "%v", err)
			require.NotContains(t, err.Error(), long)
		})
	}
}

// TestTextThatPostgresRefusesIsPermanent has what a normaliser should have replaced.
func TestTextThatPostgresRefusesIsPermanent(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{"zero": "hunter2\x00", "no UTF-8": "hunter2\xff"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := open(t, postgresURL(t))
			change := content.ChangeSet{Messages: []content.Message{{Version: "v", Text: text}}}
			change.Update.Hash = ingest.HashOf(nil)
			_, err := db.Archive().Apply(t.Context(), content.Batch{Changes: []content.ChangeSet{change}})
			require.Equal(t, fault.Permanent, fault.ClassOf(err))
			require.Equal(t, "apply 1 updates: write messages: sqlstate 22021", err.Error())

			change.Messages[0].Text = ""
			change.Messages[0].Entities = []content.Entity{{URL: strings.TrimSuffix(text, "\xff")}}
			_, err = db.Archive().Apply(t.Context(), content.Batch{Changes: []content.ChangeSet{change}})
			if name == "zero" {
				require.Equal(t, fault.Permanent, fault.ClassOf(err))
				require.Equal(t, "apply 1 updates: write messages: sqlstate 22P05", err.Error())
			}
			var updates int
			require.NoError(t, db.SQL().QueryRowContext(t.Context(), "SELECT count(*) FROM updates").Scan(&updates))
			require.Equal(t, map[string]int{"zero": 0, "no UTF-8": 1}[name], updates)
		})
	}
}

func TestAConnectionThatTheServerCutIsTransient(t *testing.T) {
	t.Parallel()
	url := postgresURL(t)
	db, other := open(t, url), open(t, url)
	require.NoError(t, db.Archive().Probe(t.Context()))
	tx, err := db.SQL().BeginTx(t.Context(), nil)
	require.NoError(t, err)
	defer tx.Rollback() //nolint:errcheck // the connection is gone
	var pid int
	require.NoError(t, tx.QueryRowContext(t.Context(), "SELECT pg_backend_pid()").Scan(&pid))
	_, err = other.SQL().ExecContext(t.Context(), "SELECT pg_terminate_backend($1)", pid)
	require.NoError(t, err)
	_, err = tx.ExecContext(t.Context(), "SELECT 1")
	require.Equal(t, fault.Transient, fault.ClassOf(store.Classify(err)), "%v", err)
	require.NoError(t, db.Archive().Probe(t.Context()), "the pool makes a new one")
}

func TestADeadlineThatEndsInTheDatabaseIsTransient(t *testing.T) {
	t.Parallel()
	url := postgresURL(t)
	db, other := open(t, url), open(t, url)
	tx, err := other.SQL().BeginTx(t.Context(), nil)
	require.NoError(t, err)
	defer func() { require.NoError(t, tx.Rollback()) }()
	_, err = tx.ExecContext(t.Context(), "LOCK TABLE probes")
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	require.Equal(t, fault.Transient, fault.ClassOf(db.Archive().Probe(ctx)))
}

// TestAReadOnlyDatabaseIsTransient has the settings of a server that is a replica, or is being switched over.
func TestAReadOnlyDatabaseIsTransient(t *testing.T) {
	t.Parallel()
	db := open(t, postgresURL(t)+"&default_transaction_read_only=on")
	for name, write := range map[string]func(context.Context) error{
		"archive": db.Archive().Probe,
		"apply": func(ctx context.Context) error {
			_, err := db.Archive().Apply(ctx, content.Batch{SpoolIDs: []int64{1}})
			return err
		},
		"spool": func(ctx context.Context) error {
			_, err := db.Spool().Put(ctx, ingest.Spooled{OldestAt: time.Now(), Payload: []byte{}})
			return err
		},
		"claim": func(ctx context.Context) error {
			_, err := db.Spool().Claim(ctx, 1, time.Minute)
			return err
		},
	} {
		err := write(t.Context())
		require.Equal(t, fault.Transient, fault.ClassOf(err), "%s: %v", name, err)
		require.ErrorContains(t, err, "sqlstate 25006", name)
	}
}

func TestALockThatIsNotGivenInTimeIsTransient(t *testing.T) {
	t.Parallel()
	url := postgresURL(t)
	db, other := open(t, url+"&lock_timeout=50ms"), open(t, url)
	tx, err := other.SQL().BeginTx(t.Context(), nil)
	require.NoError(t, err)
	defer func() { require.NoError(t, tx.Rollback()) }()
	_, err = tx.ExecContext(t.Context(), "LOCK TABLE probes")
	require.NoError(t, err)
	err = db.Archive().Probe(t.Context())
	require.Equal(t, fault.Transient, fault.ClassOf(err), "%v", err)
	require.ErrorContains(t, err, "sqlstate 55P03")
}
