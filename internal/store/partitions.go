package store

import (
	"context"
	"fmt"
	"time"

	"gorm.io/gorm"
)

// partitionsLock is the advisory lock under which partitions are made: two processes that made one at once would meet in an error
// or in a deadlock on the parent table.
const partitionsLock = 8_388_085_001

// partitionsWait bounds how long making a partition waits for whoever uses the ledger, because whoever comes later waits behind it.
const partitionsWait = "SET LOCAL lock_timeout = '2s'"

// PreparePartitions makes the ledger's partitions for days days from the UTC day of from, and moves into them what updates_default
// has taken in their place. Those that exist are left alone, any number of processes may call it at once, and SQLite, which has
// no partitions, is left alone. Writers wait while a partition is made: milliseconds when that is done ahead. It gives up, to be
// called again, when a long transaction keeps it waiting.
func (a *Archive) PreparePartitions(ctx context.Context, from time.Time, days int) error {
	if a.db.dialect == onSQLite {
		return nil
	}
	for i := range days {
		day := from.UTC().AddDate(0, 0, i)
		if err := a.db.preparePartition(ctx, day); err != nil {
			return fmt.Errorf("prepare partition %s: %w", partitionOf(day), err)
		}
	}
	return nil
}

func partitionOf(day time.Time) string { return "updates_" + day.Format("20060102") }

// preparePartition makes a table of its own, fills it, and attaches it: making it as a partition at once would fail when
// updates_default holds a row of the day. The lock on the whole ledger is for writers that have chosen updates_default for a row
// and wait for it: they would find that it takes the row no more, and fail.
func (db *DB) preparePartition(ctx context.Context, day time.Time) error {
	name := partitionOf(day)
	if exists, err := partitionExists(db.read(ctx), name); err != nil || exists {
		return classify(err)
	}
	err := db.write(ctx, func(tx *gorm.DB) error {
		if err := inOrder(tx, partitionsWait, fmt.Sprintf("SELECT pg_advisory_xact_lock(%d)", partitionsLock)); err != nil {
			return err
		}
		if exists, err := partitionExists(tx, name); err != nil || exists {
			return err
		}
		first, next := day.Format(time.DateOnly), day.AddDate(0, 0, 1).Format(time.DateOnly)
		return inOrder(tx,
			"LOCK TABLE ONLY updates IN ACCESS EXCLUSIVE MODE",
			fmt.Sprintf("CREATE TABLE %s (LIKE updates INCLUDING DEFAULTS)", name),
			fmt.Sprintf("WITH moved AS (DELETE FROM updates_default WHERE day = '%s' RETURNING *) INSERT INTO %s SELECT * FROM moved",
				first, name),
			fmt.Sprintf("ALTER TABLE updates ATTACH PARTITION %s FOR VALUES FROM ('%s') TO ('%s')", name, first, next),
		)
	})
	if err == nil {
		db.log.InfoContext(ctx, "partition made", "partition", name)
	}
	return err
}

// partitionExists reads the catalogue as a table: to_regclass may answer from a cache that another's commit has not reached yet.
func partitionExists(tx *gorm.DB, name string) (exists bool, err error) {
	err = tx.Raw(`SELECT EXISTS (SELECT FROM pg_class WHERE relname = ?
		AND relnamespace = (SELECT relnamespace FROM pg_class WHERE oid = 'updates'::regclass))`, name).Scan(&exists).Error
	return exists, err
}

func inOrder(tx *gorm.DB, statements ...string) error {
	for _, statement := range statements {
		if err := tx.Exec(statement).Error; err != nil {
			return err
		}
	}
	return nil
}
