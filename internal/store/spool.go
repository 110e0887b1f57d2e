package store

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"gorm.io/gorm"

	"github.com/tgfleet/tgfleet/internal/fault"
	"github.com/tgfleet/tgfleet/internal/ingest"
)

// Spool holds the batches that wait in the database, and not in the queue, to be applied. A row is put once, claimed until it succeeds,
// and deleted by Archive.Apply in the transaction that carries it out. "Due" is told by the database's clock. Any number of
// goroutines and processes may use it.
type Spool struct {
	db *DB
}

// Spool returns the repository of the batches that wait in the database.
func (db *DB) Spool() *Spool { return &Spool{db: db} }

// Put makes batch durable and returns the id of its row. The zero DueAt means due now, on the database's clock; ID, Attempts,
// Crashes and Blamed are not read. A batch that is put twice is two rows.
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
// because it was slow, shares it with the next one, which is harmless; the next one sees a crash more, and what was marked is
// blamed for it. The batches come in the order of their ids; DueAt is the end of the hold.
func (s *Spool) Claim(ctx context.Context, limit int, hold time.Duration) ([]ingest.Spooled, error) {
	const claimed = `, claimed = true, crashes = crashes + CASE WHEN claimed THEN 1 ELSE 0 END, marked = NULL,
		blamed = blamed || CASE WHEN claimed AND marked IS NOT NULL THEN CAST(marked AS text) || ' ' ELSE '' END `
	var rows []spoolRow
	err := s.db.write(ctx, func(tx *gorm.DB) error {
		if s.db.dialect == onSQLite {
			// The transaction holds the write lock from its start: nobody claims at the same time.
			return tx.Raw(`UPDATE spool SET due_at = `+s.db.dialect.clockTimeAfter()+claimed+`
				WHERE id IN (SELECT id FROM spool WHERE due_at <= `+s.db.dialect.statementTime()+` ORDER BY due_at, id LIMIT ?)
				RETURNING id, due_at, attempts, crashes, blamed, oldest_at, updates, payload`, interval(hold), limit).Scan(&rows).Error
		}
		return tx.Raw(`WITH due AS (
				SELECT id FROM spool WHERE due_at <= statement_timestamp() ORDER BY due_at, id LIMIT ? FOR UPDATE SKIP LOCKED)
			UPDATE spool SET due_at = `+s.db.dialect.clockTimeAfter()+claimed+` FROM due WHERE spool.id = due.id
			RETURNING spool.id, due_at, attempts, crashes, blamed, oldest_at, updates, payload`,
			limit, interval(hold)).Scan(&rows).Error
	})
	if err != nil {
		return nil, fmt.Errorf("claim from spool: %w", err)
	}
	slices.SortFunc(rows, func(a, b spoolRow) int { return cmp.Compare(a.ID, b.ID) })
	batches := make([]ingest.Spooled, len(rows))
	for i := range rows {
		if batches[i], err = rows[i].spooled(); err != nil {
			return nil, fmt.Errorf("claim spooled batch %d: %w", rows[i].ID, err)
		}
	}
	return batches, nil
}

// Hold keeps batches that the caller has claimed from others for hold from now, unless they are held for longer. Batches that have gone, or
// whose claim has ended, are left alone, and so are those that somebody is just applying: nobody can claim them meanwhile.
func (s *Spool) Hold(ctx context.Context, ids []int64, hold time.Duration) error {
	until := s.db.dialect.clockTimeAfter()
	mine := `SELECT id FROM spool WHERE id IN ? AND claimed AND due_at < ` + until
	if s.db.dialect == onPostgres {
		mine += ` ORDER BY id FOR UPDATE SKIP LOCKED`
	}
	err := s.db.write(ctx, func(tx *gorm.DB) error {
		return tx.Exec(`UPDATE spool SET due_at = `+until+` WHERE id IN (`+mine+`)`, interval(hold), ids, interval(hold)).Error
	})
	if err != nil {
		return fmt.Errorf("hold %d spooled batches: %w", len(ids), err)
	}
	return nil
}

// Mark writes down that the claimer of batch is about to run one part of it, in place of any part marked before, and holds the batch
// for hold from now. It returns a fault.NotFound error when the batch has gone, or another claim has found that this one ended.
func (s *Spool) Mark(ctx context.Context, batch ingest.Spooled, part int, hold time.Duration) error {
	err := s.db.write(ctx, func(tx *gorm.DB) error {
		marked := tx.Exec(`UPDATE spool SET marked = ?, due_at = `+s.db.dialect.clockTimeAfter()+` WHERE id = ? AND crashes = ?`,
			part, interval(hold), batch.ID, batch.Crashes)
		if marked.Error == nil && marked.RowsAffected == 0 {
			return fault.As(fault.NotFound, gorm.ErrRecordNotFound)
		}
		return marked.Error
	})
	if err != nil {
		return fmt.Errorf("mark part %d of spooled batch %d: %w", part, batch.ID, err)
	}
	return nil
}

// Unmark takes the mark off again; of a batch that has gone, or that somebody else has claimed, it changes nothing.
func (s *Spool) Unmark(ctx context.Context, batch ingest.Spooled) error {
	err := s.db.write(ctx, func(tx *gorm.DB) error {
		return tx.Exec(`UPDATE spool SET marked = NULL WHERE id = ? AND crashes = ?`, batch.ID, batch.Crashes).Error
	})
	if err != nil {
		return fmt.Errorf("unmark spooled batch %d: %w", batch.ID, err)
	}
	return nil
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

// Postpone ends the claim of a batch in good order: it is due in pause from now, whatever hold it was claimed with, and nothing of
// it is marked. A batch that is not there any more is no error.
func (s *Spool) Postpone(ctx context.Context, id int64, pause time.Duration) error {
	err := s.db.write(ctx, func(tx *gorm.DB) error {
		return tx.Exec(`UPDATE spool SET due_at = `+s.db.dialect.clockTimeAfter()+`, claimed = false, marked = NULL WHERE id = ?`,
			interval(pause), id).Error
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
	Crashes  int
	Blamed   string
	OldestAt instant
	Updates  int
	Payload  []byte
}

func (r *spoolRow) spooled() (ingest.Spooled, error) {
	batch := ingest.Spooled{
		ID: r.ID, Payload: r.Payload, Updates: r.Updates,
		OldestAt: r.OldestAt.Time, DueAt: r.DueAt.Time, Attempts: r.Attempts, Crashes: r.Crashes,
	}
	for part := range strings.FieldsSeq(r.Blamed) {
		n, err := strconv.Atoi(part)
		if err != nil {
			return ingest.Spooled{}, fmt.Errorf("blamed part: %w", err)
		}
		batch.Blamed = append(batch.Blamed, n)
	}
	return batch, nil
}
