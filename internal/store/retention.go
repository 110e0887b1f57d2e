package store

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"gorm.io/gorm"

	"github.com/tgfleet/tgfleet/internal/fault"
	"github.com/tgfleet/tgfleet/internal/ingest"
)

const (
	// removedAtOnce bounds the rows that one transaction removes where a day is no table of its own.
	removedAtOnce = 500
	// removalWithin bounds each statement while the whole ledger is locked, because its writers wait meanwhile.
	removalWithin = "SET LOCAL statement_timeout = '2s'"
)

// TrimLedger drops the days of the ledger that lie whole before now less retention, by the caller's clock and by the database's, and
// reports what became of each. A day stays while something is owed of it: events that a subscriber has not taken yet, open
// dead letters, a replay that runs over it. What was made of its updates stays in any case. A retention of 0 keeps all. Any number of
// processes may call it at once, beside writers, replays and PreparePartitions: a day is locked before it is judged, so nothing
// becomes owed of it in between. Writers wait for milliseconds as a rule, and for a few seconds at most, for then it gives up the
// day: an error says what held it up and leaves that day and the newer ones for the next call.
func (a *Archive) TrimLedger(ctx context.Context, now time.Time, retention time.Duration) (ingest.Trimmed, error) {
	var trimmed ingest.Trimmed
	if retention <= 0 {
		return trimmed, nil
	}
	days, err := a.db.overdueDays(ctx, now, retention)
	if err != nil {
		return trimmed, fmt.Errorf("find days older than the retention: %w", classify(err))
	}
	trimmed.Kept = map[time.Time]ingest.KeptFor{}
	for i, day := range days {
		gone, kept, err := a.db.dropDay(ctx, day)
		switch {
		case err != nil:
			trimmed.Undecided = len(days) - i
			return trimmed, fmt.Errorf("drop %s of the ledger: %w", day.date(), classify(err))
		case kept != "":
			trimmed.Kept[day.Time] = kept
		case gone:
			trimmed.Dropped = append(trimmed.Dropped, day.Time)
		}
	}
	return trimmed, nil
}

// ledgerDay is the midnight, in UTC, with which a day begins that the ledger has.
type ledgerDay struct {
	time.Time
	// partition is true when the day is a table of its own.
	partition bool
}

func (d ledgerDay) date() string    { return d.Format(time.DateOnly) }
func (d ledgerDay) next() time.Time { return d.AddDate(0, 0, 1) }

// overdueDays returns the days that ended at least retention ago, the oldest first. The earlier of the two clocks counts: one that has gone
// ahead by itself drops nothing.
func (db *DB) overdueDays(ctx context.Context, now time.Time, retention time.Duration) ([]ledgerDay, error) {
	var database instant
	if err := db.read(ctx).Raw("SELECT " + db.dialect.clockTime()).Row().Scan(&database); err != nil {
		return nil, err
	}
	if database.Before(now) {
		now = database.Time
	}
	first := now.Add(-retention).UTC().Truncate(24 * time.Hour)
	var partitions []string
	if db.dialect == onPostgres {
		err := db.read(ctx).Raw(`SELECT relname FROM pg_class JOIN pg_inherits ON inhrelid = pg_class.oid
			WHERE inhparent = 'updates'::regclass`).Scan(&partitions).Error
		if err != nil {
			return nil, err
		}
	}
	var days []ledgerDay
	for _, name := range partitions {
		day, err := time.Parse("20060102", strings.TrimPrefix(name, "updates_"))
		if err == nil && day.Before(first) {
			days = append(days, ledgerDay{Time: day, partition: true})
		}
	}
	rest := "updates"
	if db.dialect == onPostgres {
		rest = "updates_default"
	}
	// Each step is one search of the primary key, which begins with the day.
	var loose []string
	err := db.read(ctx).Raw(`WITH RECURSIVE days(day) AS (
			SELECT min(day) FROM `+rest+` WHERE day < @first
			UNION ALL
			SELECT (SELECT min(day) FROM `+rest+` WHERE day > days.day AND day < @first) FROM days WHERE day IS NOT NULL)
		SELECT CAST(day AS text) FROM days WHERE day IS NOT NULL`, map[string]any{"first": first.Format(time.DateOnly)}).Scan(&loose).Error
	if err != nil {
		return nil, err
	}
	for _, date := range loose {
		day, err := time.Parse(time.DateOnly, date)
		if err != nil {
			return nil, fault.As(fault.Permanent, err)
		}
		days = append(days, ledgerDay{Time: day})
	}
	slices.SortFunc(days, func(a, b ledgerDay) int { return a.Compare(b.Time) })
	return days, nil
}

// dropDay removes a day from the ledger, or says what keeps it. Gone is false when another was faster.
func (db *DB) dropDay(ctx context.Context, day ledgerDay) (gone bool, kept ingest.KeptFor, err error) {
	// Looked at without a lock first, so that nobody waits for the sake of a day that stays.
	if kept, err = db.owedOf(db.read(ctx), day); err != nil || kept != "" {
		return false, kept, err
	}
	for {
		removed, more := 0, false
		err = db.write(ctx, func(tx *gorm.DB) error {
			if err := db.lockLedger(tx); err != nil {
				return err
			}
			var err error
			if kept, err = db.owedOf(tx, day); err != nil || kept != "" {
				return err
			}
			removed, more, err = removeDay(tx, day)
			return err
		})
		gone = gone || removed > 0
		if err != nil || kept != "" || !more {
			return gone && kept == "", kept, err
		}
	}
}

// lockLedger keeps all others out of the ledger until tx ends, in the order in which those who make partitions and those who write take
// their locks. Once it returns, every update that has reached the ledger is there with its events, and no replay reads on before tx
// ends. SQLite has one writer at a time anyway.
func (db *DB) lockLedger(tx *gorm.DB) error {
	if db.dialect == onSQLite {
		return nil
	}
	return inOrder(tx, partitionsWait, fmt.Sprintf("SELECT pg_advisory_xact_lock(%d)", partitionsLock),
		"LOCK TABLE ONLY updates IN ACCESS EXCLUSIVE MODE", removalWithin)
}

// owedOf returns what keeps a day, and nothing when nothing does. Without a subscriber no event is owed to anybody.
func (db *DB) owedOf(tx *gorm.DB, day ledgerDay) (kept ingest.KeptFor, err error) {
	err = tx.Raw(`SELECT CASE
		WHEN EXISTS (SELECT 1 FROM replays WHERE finished_at IS NULL AND held_until > `+db.dialect.statementTime()+`
			AND (received_from IS NULL OR received_from < @next) AND (received_to IS NULL OR received_to > @day)) THEN @replay
		WHEN EXISTS (SELECT 1 FROM dead_letters WHERE received_at >= @day AND received_at < @next) THEN @letters
		WHEN EXISTS (SELECT 1 FROM platform_events WHERE sequence > (SELECT min(relayed_through) FROM subscribers)
			AND COALESCE(received_at, created_at) >= @day AND COALESCE(received_at, created_at) < @next) THEN @events
		ELSE '' END`, map[string]any{
		"day": instant{day.Time}, "next": instant{day.next()},
		"replay": ingest.KeptForReplay, "letters": ingest.KeptForDeadLetters, "events": ingest.KeptForEvents,
	}).Scan(&kept).Error
	return kept, err
}

// removeDay removes a day that is a table of its own, or some rows of one that is not; more says that there may be others. Removed counts
// tables or rows.
func removeDay(tx *gorm.DB, day ledgerDay) (removed int, more bool, err error) {
	if day.partition {
		name := partitionOf(day.Time)
		exists, err := partitionExists(tx, name)
		if err != nil || !exists {
			return 0, false, err
		}
		return 1, false, tx.Exec("DROP TABLE " + name).Error
	}
	result := tx.Exec(`DELETE FROM updates WHERE day = @day AND (source, update_id, hash) IN (
		SELECT source, update_id, hash FROM updates WHERE day = @day LIMIT @most)`,
		map[string]any{"day": day.date(), "most": removedAtOnce})
	return int(result.RowsAffected), result.RowsAffected == removedAtOnce, result.Error
}
