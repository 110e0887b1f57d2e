package store

import (
	"context"
	"fmt"
	"slices"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/tgfleet/tgfleet/internal/fault"
	"github.com/tgfleet/tgfleet/internal/ingest"
)

const (
	// retryUpdates and retrySizeBytes bound a batch of letters that go back into the line, like the batches that come
	// from the front. A single larger letter is a batch of its own.
	retryUpdates   = 64
	retrySizeBytes = 256 << 10
	// dropLetters bounds the letters of one statement of a drop.
	dropLetters = 1000
)

// Mover is in whose name letters are moved, and why. Both are kept and shown as they are: never a secret.
type Mover struct {
	Who    string
	Reason string
}

// DeadLetterMoveKind is what was done with a dead letter; it is the word in the record.
type DeadLetterMoveKind string

// The kinds of moves.
const (
	// Retried letters went back into the line, and may have died again since.
	Retried DeadLetterMoveKind = "retried"
	// Dropped letters are gone, with their updates.
	Dropped DeadLetterMoveKind = "dropped"
)

// DeadLetterMove is the record of one letter's move. It keeps what names the letter and its update, and nothing of the content.
type DeadLetterMove struct {
	Kind DeadLetterMoveKind
	Mover
	// MovedAt is told by the database's clock.
	MovedAt           time.Time
	LetterID          int64
	Source            ingest.Source
	UpdateID          int64
	Hash              ingest.Hash
	Class             string
	NormaliserVersion uint16
	DiedAt            time.Time
	// OpenLetterID is the letter in which the same update waits now, because it died again; 0 when it does not.
	OpenLetterID int64
}

// By returns the repository in the name of mover: whatever it moves is recorded as mover's. Without it moves are recorded as
// nobody's, with empty texts.
func (d *DeadLetters) By(mover Mover) *DeadLetters { return &DeadLetters{db: d.db, by: mover} }

// Retry sends the oldest letters that filter means back into the line, as many as make one batch, and returns how many: 64 or
// 256 KiB at most, and 0 when filter means none any more. In one transaction it puts them into the spool, due now, as encode writes
// them for the queue, records the move, and deletes them; when anything fails, encode included, nothing is moved. Raw and
// ReceivedAt stay what they were, and the origin becomes ingest.Replay. A letter that several calls mean is moved once.
func (d *DeadLetters) Retry(
	ctx context.Context, filter DeadLetterFilter, encode func([]ingest.Envelope) ([]byte, error),
) (letters int, err error) {
	err = d.db.write(ctx, func(tx *gorm.DB) error {
		batch, err := nextToRetry(tx, filter)
		if err != nil || len(batch) == 0 {
			return err
		}
		letters = len(batch)
		return d.retry(tx, batch, encode)
	})
	if err != nil {
		return 0, fmt.Errorf("retry dead letters: %w", err)
	}
	return letters, nil
}

// nextToRetry locks and returns the oldest letters that filter means, as many as make a batch.
func nextToRetry(tx *gorm.DB, filter DeadLetterFilter) ([]deadLetterRow, error) {
	var sizes []struct {
		ID        int64
		SizeBytes int
	}
	err := filter.of(tx.Table(deadLetterRow{}.TableName())).Clauses(clause.Locking{Strength: clause.LockingStrengthUpdate}).
		Select("id, length(payload) + coalesce(length(request), 0) AS size_bytes").Order("id").Limit(retryUpdates).Find(&sizes).Error
	if err != nil || len(sizes) == 0 {
		return nil, err
	}
	ids, sizeBytes := []int64{sizes[0].ID}, sizes[0].SizeBytes
	for _, next := range sizes[1:] {
		if sizeBytes += next.SizeBytes; sizeBytes > retrySizeBytes {
			break
		}
		ids = append(ids, next.ID)
	}
	var rows []deadLetterRow
	err = tx.Select(deadLetterColumns).Where("id IN ?", ids).Order("id").Find(&rows).Error
	return rows, err
}

func (d *DeadLetters) retry(tx *gorm.DB, rows []deadLetterRow, encode func([]ingest.Envelope) ([]byte, error)) error {
	ids := make([]int64, len(rows))
	envelopes := make([]ingest.Envelope, len(rows))
	oldest := rows[0].ReceivedAt.Time
	for i := range rows {
		letter, err := rows[i].letter()
		if err != nil {
			return err
		}
		ids[i], envelopes[i] = letter.ID, letter.Envelope
		envelopes[i].Origin = ingest.Replay
		if letter.Envelope.ReceivedAt.Before(oldest) {
			oldest = letter.Envelope.ReceivedAt
		}
	}
	payload, err := encode(envelopes)
	if err != nil {
		return fmt.Errorf("encode batch: %w", err)
	}
	_, err = d.db.insertSpooled(tx, ingest.Spooled{Payload: payload, Updates: len(rows), OldestAt: oldest})
	if err != nil {
		return err
	}
	return d.remove(tx, Retried, ids)
}

// Drop deletes the letters that filter means, and the updates in them, for good, when they are exactly as many as expected, and
// records it. Otherwise nothing is dropped: the error is fault.NotFound and says which letters that filter names are not there, or
// fault.Permanent and says how many letters there are.
func (d *DeadLetters) Drop(ctx context.Context, filter DeadLetterFilter, expected int) error {
	err := d.db.write(ctx, func(tx *gorm.DB) error {
		var ids []int64
		err := filter.of(tx.Table(deadLetterRow{}.TableName())).Clauses(clause.Locking{Strength: clause.LockingStrengthUpdate}).
			Order("id").Pluck("id", &ids).Error
		if err != nil {
			return err
		}
		if err := filter.missing(ids); err != nil {
			return err
		}
		if len(ids) != expected {
			return fault.As(fault.Permanent, fmt.Errorf("there are %d, and not %d", len(ids), expected))
		}
		for some := range slices.Chunk(ids, dropLetters) {
			if err := d.remove(tx, Dropped, some); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("drop dead letters: %w; nothing is dropped", err)
	}
	return nil
}

// remove records the move of letters, which tx has locked, and deletes them.
func (d *DeadLetters) remove(tx *gorm.DB, kind DeadLetterMoveKind, ids []int64) error {
	err := tx.Exec(`INSERT INTO dead_letter_moves
			(moved_at, kind, who, reason, letter_id, source, update_id, hash, class, normaliser_version, died_at)
		SELECT `+d.db.dialect.statementTime()+`, ?, ?, ?, id, source, update_id, hash, class, normaliser_version, died_at
		FROM dead_letters WHERE id IN ? ORDER BY id`, kind, d.by.Who, d.by.Reason, ids).Error
	if err != nil {
		return err
	}
	return tx.Where("id IN ?", ids).Delete(&deadLetterRow{}).Error
}

// Moves returns up to limit moves, the latest first, of letters that filter means. The numbers in it mean updates, whichever
// letters they have been: the moves of a letter are those of all letters that the same update was before and after.
func (d *DeadLetters) Moves(ctx context.Context, filter DeadLetterFilter, limit int) ([]DeadLetterMove, error) {
	query := d.db.read(ctx).Table("dead_letter_moves")
	if filter.IDs != nil {
		query = query.Where(`(source, hash) IN (SELECT source, hash FROM dead_letters WHERE id IN ?
			UNION SELECT source, hash FROM dead_letter_moves WHERE letter_id IN ?)`, filter.IDs, filter.IDs)
		filter.IDs = nil
	}
	var rows []deadLetterMoveRow
	err := d.db.read(ctx).Table("(?) AS moves", filter.of(query).Order("id DESC").Limit(limit)).
		Joins("LEFT JOIN dead_letters ON dead_letters.source = moves.source AND dead_letters.hash = moves.hash").
		Select("moves.*, coalesce(dead_letters.id, 0) AS open_letter_id").Order("moves.id DESC").Find(&rows).Error
	if err != nil {
		return nil, fmt.Errorf("list moves of dead letters: %w", classify(err))
	}
	moves := make([]DeadLetterMove, len(rows))
	for i := range rows {
		if moves[i], err = rows[i].move(); err != nil {
			return nil, fmt.Errorf("list moves of dead letters: %w", err)
		}
	}
	return moves, nil
}

// deadLetterMoveRow is a row of dead_letter_moves with the letter in which its update waits.
type deadLetterMoveRow struct {
	Kind              DeadLetterMoveKind
	Who               string
	Reason            string
	MovedAt           instant
	LetterID          int64
	Source            string
	UpdateID          int64
	Hash              []byte
	Class             string
	NormaliserVersion uint16
	DiedAt            instant
	OpenLetterID      int64
}

func (r *deadLetterMoveRow) move() (DeadLetterMove, error) {
	source, err := ingest.ParseSource(r.Source)
	if err != nil {
		return DeadLetterMove{}, fault.As(fault.Permanent, fmt.Errorf("move of dead letter %d: %w", r.LetterID, err))
	}
	m := DeadLetterMove{
		Kind: r.Kind, Mover: Mover{Who: r.Who, Reason: r.Reason}, MovedAt: r.MovedAt.Time, LetterID: r.LetterID, Source: source,
		UpdateID: r.UpdateID, Class: r.Class, NormaliserVersion: r.NormaliserVersion, DiedAt: r.DiedAt.Time,
		OpenLetterID: r.OpenLetterID,
	}
	copy(m.Hash[:], r.Hash)
	return m, nil
}
