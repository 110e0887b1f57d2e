package store

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"gorm.io/gorm"

	"github.com/tgfleet/tgfleet/internal/fault"
	"github.com/tgfleet/tgfleet/internal/ingest"
)

// Spool is the line's second bed: batches that wait in the database to be applied. A row is put once, claimed until it succeeds,
// and deleted by Archive.Apply in the transaction that carries it out. "Due" is told by the database's clock. Any number of
// goroutines and processes may use it.
type Spool struct {
	db *DB
}

// Spool returns the repository of the batches that wait in the database.
func (db *DB) Spool() *Spool { return &Spool{db: db} }

// Put makes batch durable and returns the id of its row. The zero DueAt means due now, on the database's clock; ID and Attempts
// are not read. A batch that is put twice is two rows.
func (s *Spool) Put(ctx context.Context, batch ingest.Spooled) (id int64, err error) {
	err = s.db.write(ctx, func(tx *gorm.DB) error {
		id, err = s.db.insertSpooled(tx, batch)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("put batch into spool: %w", err)
	}
	return id, nil
}

func (db *DB) insertSpooled(tx *gorm.DB, batch ingest.Spooled) (id int64, err error) {
	err = tx.Raw(`INSERT INTO spool (due_at, oldest_at, updates, payload)
		VALUES (COALESCE(?, `+db.dialect.statementTime()+`), ?, ?, ?) RETURNING id`,
		instant{batch.DueAt}, instant{batch.OldestAt}, batch.Updates, batch.Payload).Scan(&id).Error
	return id, err
}

// Claim returns up to limit batches that are due, those that have been due longest before all others, and moves them ahead by hold:
// no other claim returns them before hold has passed. A claimer that has not applied a batch by then, because it died or
// because it was slow, shares it with the next one, which is harmless. The batches come in the order of their ids; DueAt is the
// end of the hold.
func (s *Spool) Claim(ctx context.Context, limit int, hold time.Duration) ([]ingest.Spooled, error) {
	var rows []spoolRow
	err := s.db.write(ctx, func(tx *gorm.DB) error {
		if s.db.dialect == onSQLite {
			// The transaction holds the write lock from its start: nobody claims at the same time.
			return tx.Raw(`UPDATE spool SET due_at = `+s.db.dialect.clockTimeAfter()+`
				WHERE id IN (SELECT id FROM spool WHERE due_at <= `+s.db.dialect.statementTime()+` ORDER BY due_at, id LIMIT ?)
				RETURNING id, due_at, attempts, oldest_at, updates, payload`, interval(hold), limit).Scan(&rows).Error
		}
		return tx.Raw(`WITH due AS (
				SELECT id FROM spool WHERE due_at <= statement_timestamp() ORDER BY due_at, id LIMIT ? FOR UPDATE SKIP LOCKED)
			UPDATE spool SET due_at = `+s.db.dialect.clockTimeAfter()+` FROM due WHERE spool.id = due.id
			RETURNING spool.id, spool.due_at, spool.attempts, spool.oldest_at, spool.updates, spool.payload`,
			limit, interval(hold)).Scan(&rows).Error
	})
	if err != nil {
		return nil, fmt.Errorf("claim from spool: %w", err)
	}
	slices.SortFunc(rows, func(a, b spoolRow) int { return cmp.Compare(a.ID, b.ID) })
	batches := make([]ingest.Spooled, len(rows))
	for i := range rows {
		batches[i] = rows[i].spooled()
	}
	return batches, nil
}

// CountFailure writes down that applying the batch failed and returns how often it has, this time included. Of a batch that is not
// there any more it returns a fault.NotFound error.
func (s *Spool) CountFailure(ctx context.Context, id int64) (attempts int, err error) {
	err = s.db.write(ctx, func(tx *gorm.DB) error {
		counted := tx.Raw(`UPDATE spool SET attempts = attempts + 1 WHERE id = ? RETURNING attempts`, id).Scan(&attempts)
		if counted.Error == nil && counted.RowsAffected == 0 {
			return fault.As(fault.NotFound, gorm.ErrRecordNotFound)
		}
		return counted.Error
	})
	if err != nil {
		return 0, fmt.Errorf("count failure of spooled batch %d: %w", id, err)
	}
	return attempts, nil
}

// Postpone makes the batch due in pause from now, whatever hold it was claimed with. A batch that is not there any more is no
// error.
func (s *Spool) Postpone(ctx context.Context, id int64, pause time.Duration) error {
	err := s.db.write(ctx, func(tx *gorm.DB) error {
		return tx.Exec(`UPDATE spool SET due_at = `+s.db.dialect.clockTimeAfter()+` WHERE id = ?`, interval(pause), id).Error
	})
	if err != nil {
		return fmt.Errorf("postpone spooled batch %d: %w", id, err)
	}
	return nil
}

// Release makes every batch due now, whoever has claimed it, and returns how many there are. It is for a process that is alone
// with its database, when it starts: every batch it finds is one that an earlier process left.
func (s *Spool) Release(ctx context.Context) (batches int, err error) {
	err = s.db.write(ctx, func(tx *gorm.DB) error {
		released := tx.Exec(`UPDATE spool SET due_at = ` + s.db.dialect.statementTime())
		batches = int(released.RowsAffected)
		return released.Error
	})
	if err != nil {
		return 0, fmt.Errorf("release spool: %w", err)
	}
	return batches, nil
}

// Backlog returns how many updates are in the spool, claimed or not, and when the oldest of them was received; of an empty spool
// nothing and the zero time.
func (s *Spool) Backlog(ctx context.Context) (updates int, oldest time.Time, err error) {
	var row struct {
		Updates int
		Oldest  instant
	}
	err = s.db.read(ctx).Raw(`SELECT COALESCE(sum(updates), 0) AS updates, min(oldest_at) AS oldest FROM spool`).Scan(&row).Error
	if err != nil {
		return 0, time.Time{}, fmt.Errorf("read backlog of spool: %w", classify(err))
	}
	return row.Updates, row.Oldest.Time, nil
}

type spoolRow struct {
	ID       int64
	DueAt    instant
	Attempts int
	OldestAt instant
	Updates  int
	Payload  []byte
}

func (r *spoolRow) spooled() ingest.Spooled {
	return ingest.Spooled{
		ID: r.ID, Payload: r.Payload, Updates: r.Updates,
		OldestAt: r.OldestAt.Time, DueAt: r.DueAt.Time, Attempts: r.Attempts,
	}
}
