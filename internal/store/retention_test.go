package store_test

import (
	"database/sql"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/tgfleet/tgfleet/internal/content"
	"github.com/tgfleet/tgfleet/internal/fault"
	"github.com/tgfleet/tgfleet/internal/ingest"
	"github.com/tgfleet/tgfleet/internal/store"
	"github.com/tgfleet/tgfleet/internal/store/storetest"
)

func TestRetention(t *testing.T) {
	t.Parallel()
	eachDatabase(t, func(t *testing.T, open func(t *testing.T) *store.DB) {
		storetest.Retention(t, func(t *testing.T) (*store.DB, *sql.DB) {
			db := open(t)
			pool := db.SQL()
			return db, pool
		})
	})
}

var (
	oldDay    = time.Date(2025, 3, 30, 0, 0, 0, 0, time.UTC)
	longAfter = oldDay.AddDate(0, 0, 40)
)

const month = 30 * 24 * time.Hour

// told returns received with a message that an event tells of.
func told(id int64, at time.Time) content.ChangeSet {
	change := received(id, at)
	change.Messages = []content.Message{{
		Key: content.MessageKey{ChatID: -1, MessageID: content.MessageID(id)}, Kind: "text", Date: at,
		Version: content.NewVersion(content.Stamp{Date: at, Source: change.Update.Envelope.Source, Sequence: id, Hash: change.Update.Hash}),
	}}
	return change
}

func apply(t *testing.T, db *store.DB, changes ...content.ChangeSet) {
	t.Helper()
	_, err := db.Archive().Apply(t.Context(), content.Batch{Changes: changes})
	require.NoError(t, err)
}

func TestATrimmedDayIsNoTableAnyMore(t *testing.T) {
	t.Parallel()
	db := open(t, postgresURL(t))
	require.NoError(t, db.Archive().PreparePartitions(t.Context(), oldDay, 3))
	apply(t, db, received(1, oldDay))
	before := partitions(t, db)
	trimmed, err := db.Archive().TrimLedger(t.Context(), oldDay.AddDate(0, 0, 32), month)
	require.NoError(t, err)
	require.Equal(t, []time.Time{oldDay, oldDay.AddDate(0, 0, 1)}, trimmed.Dropped, "empty days go as well")
	after := partitions(t, db)
	require.Len(t, after, len(before)-2)
	require.Contains(t, after, "updates_20250401")
	apply(t, db, received(2, oldDay))
	require.Equal(t, 1, partitions(t, db)["updates_default"], "what comes late still has a place")
}

// locks returns a transaction that holds a lock until it is ended.
func locks(t *testing.T, db *store.DB, statement string) *sql.Tx {
	t.Helper()
	tx, err := db.SQL().BeginTx(t.Context(), nil)
	require.NoError(t, err)
	_, err = tx.ExecContext(t.Context(), statement)
	require.NoError(t, err)
	return tx
}

// waiting waits until somebody waits for a lock on table.
func waiting(t *testing.T, db *store.DB, table string) {
	t.Helper()
	require.Eventually(t, func() bool {
		var n int
		err := db.SQL().QueryRowContext(t.Context(), "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = '"+table+"'::regclass").Scan(&n)
		return err == nil && n > 0
	}, 30*time.Second, 5*time.Millisecond)
}

// An update's row in the ledger and its events become visible together, after the day was found free and before it is locked.
func TestADayWhoseUpdateCommitsMeanwhileStays(t *testing.T) {
	t.Parallel()
	for name, prepared := range map[string]int{"prepared": 1, "as it came": 0} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := open(t, postgresURL(t))
			require.NoError(t, db.Archive().PreparePartitions(t.Context(), oldDay, prepared))
			apply(t, db, received(1, oldDay))
			_, err := db.SQL().ExecContext(t.Context(), "INSERT INTO subscribers (name, relayed_through) VALUES ('slow', 0)")
			require.NoError(t, err)
			held := locks(t, db, "LOCK TABLE platform_events IN SHARE MODE")
			var group errgroup.Group
			group.Go(func() error {
				_, err := db.Archive().Apply(t.Context(), content.Batch{Changes: []content.ChangeSet{told(2, oldDay)}})
				return err
			})
			waiting(t, db, "platform_events")
			var trimmed ingest.Trimmed
			group.Go(func() error {
				var err error
				trimmed, err = db.Archive().TrimLedger(t.Context(), longAfter, month)
				return err
			})
			waiting(t, db, "updates")
			require.NoError(t, held.Rollback())
			require.NoError(t, group.Wait())
			require.Empty(t, trimmed.Dropped)
			require.Equal(t, map[time.Time]ingest.KeptFor{oldDay: ingest.KeptForEvents}, trimmed.Kept)
			var rows int
			require.NoError(t, db.SQL().QueryRowContext(t.Context(), "SELECT count(*) FROM updates").Scan(&rows))
			require.Equal(t, 2, rows)
		})
	}
}

func TestALongReaderOfTheLedgerHoldsUpTrimmingAndNotItsWriters(t *testing.T) {
	t.Parallel()
	db := open(t, postgresURL(t))
	require.NoError(t, db.Archive().PreparePartitions(t.Context(), oldDay, 2))
	reader := locks(t, db, "LOCK TABLE updates IN ACCESS SHARE MODE")
	var trimmed ingest.Trimmed
	var group errgroup.Group
	group.Go(func() (err error) {
		trimmed, err = db.Archive().TrimLedger(t.Context(), longAfter, month)
		return err
	})
	waiting(t, db, "updates")
	apply(t, db, received(1, oldDay)) // returns although the reader goes on
	err := group.Wait()
	require.Equal(t, fault.Transient, fault.ClassOf(err))
	require.ErrorContains(t, err, "drop 2025-03-30 of the ledger")
	require.Empty(t, trimmed.Dropped)
	require.Equal(t, 2, trimmed.Undecided)
	require.NoError(t, reader.Rollback())
	trimmed, err = db.Archive().TrimLedger(t.Context(), longAfter, month)
	require.NoError(t, err)
	require.Len(t, trimmed.Dropped, 2)
}

func TestDaysGoBesideWritersAndOthersWhoTrimAndPrepare(t *testing.T) {
	t.Parallel()
	db := open(t, postgresURL(t))
	require.NoError(t, db.Archive().PreparePartitions(t.Context(), oldDay, 6))
	var group errgroup.Group
	for range 2 {
		group.Go(func() error {
			for range 5 {
				if _, err := db.Archive().TrimLedger(t.Context(), longAfter, month); err != nil {
					return err
				}
				if err := db.Archive().PreparePartitions(t.Context(), longAfter, 4); err != nil {
					return err
				}
			}
			return nil
		})
	}
	for w := range 3 {
		group.Go(func() error {
			for i := range 40 {
				id := int64(w*1000 + i)
				batch := content.Batch{Changes: []content.ChangeSet{told(id, oldDay.AddDate(0, 0, i%6)), told(id+500, longAfter.AddDate(0, 0, i%4))}}
				if _, err := db.Archive().Apply(t.Context(), batch); err != nil {
					return err
				}
			}
			return nil
		})
	}
	require.NoError(t, group.Wait())
	_, err := db.Archive().TrimLedger(t.Context(), longAfter, month)
	require.NoError(t, err)
	made := partitions(t, db)
	require.NotContains(t, made, "updates_20250330")
	require.Zero(t, made["updates_default"])
	require.Equal(t, 30, made["updates_20250509"], "new days lose nothing")
	var messages int
	require.NoError(t, db.SQL().QueryRowContext(t.Context(), "SELECT count(*) FROM messages").Scan(&messages))
	require.Equal(t, 240, messages)
}
