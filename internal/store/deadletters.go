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
)

// DeadLetters are the updates that could not be applied. Archive.Apply writes them; here they are read, sent back into the line,
// or dropped. Any number of goroutines and processes may use it.
type DeadLetters struct {
	db *DB
}

// DeadLetters returns the repository of the updates that could not be applied.
func (db *DB) DeadLetters() *DeadLetters { return &DeadLetters{db: db} }

// DeadLetter is a dead letter and its number, which grows with every letter and is never given twice.
type DeadLetter struct {
	ID int64
	ingest.DeadLetter
}

// DeadLetterFilter says which dead letters are meant: those that meet all its fields. A zero field asks for nothing, so that the
// zero filter means every letter.
type DeadLetterFilter struct {
	// IDs means these letters; nil means any, while empty means none.
	IDs    []int64
	Class  string
	Source ingest.Source
}

// DeadLetterGroup sums up the letters that one version of the normaliser gave up on for one cause.
type DeadLetterGroup struct {
	Class             string
	NormaliserVersion uint16
	Letters           int
	// Oldest and Newest are the first and the last time of death.
	Oldest, Newest time.Time
}

// List returns up to limit letters that filter means, the latest first. It leaves out the bytes (Raw and Request), which can be
// many; Get has them.
func (d *DeadLetters) List(ctx context.Context, filter DeadLetterFilter, limit int) ([]DeadLetter, error) {
	var rows []deadLetterRow
	err := filter.of(d.db.read(ctx)).Select(deadLetterNames).Order("id DESC").Limit(limit).Find(&rows).Error
	if err != nil {
		return nil, fmt.Errorf("list dead letters: %w", classify(err))
	}
	letters := make([]DeadLetter, len(rows))
	for i := range rows {
		if letters[i], err = rows[i].letter(); err != nil {
			return nil, fmt.Errorf("list dead letters: %w", err)
		}
	}
	return letters, nil
}

// Summary returns all letters in groups, the largest first.
func (d *DeadLetters) Summary(ctx context.Context) ([]DeadLetterGroup, error) {
	var rows []struct {
		Class             string
		NormaliserVersion uint16
		Letters           int
		Oldest, Newest    instant
	}
	err := d.db.read(ctx).Raw(`SELECT class, normaliser_version, count(*) AS letters, min(died_at) AS oldest, max(died_at) AS newest
		FROM dead_letters GROUP BY class, normaliser_version ORDER BY letters DESC, class, normaliser_version`).Scan(&rows).Error
	if err != nil {
		return nil, fmt.Errorf("sum up dead letters: %w", classify(err))
	}
	groups := make([]DeadLetterGroup, len(rows))
	for i, row := range rows {
		groups[i] = DeadLetterGroup{
			Class: row.Class, NormaliserVersion: row.NormaliserVersion, Letters: row.Letters,
			Oldest: row.Oldest.Time, Newest: row.Newest.Time,
		}
	}
	return groups, nil
}

// Get returns the letter of that number with its exact bytes, or a fault.NotFound error.
func (d *DeadLetters) Get(ctx context.Context, id int64) (DeadLetter, error) {
	var row deadLetterRow
	err := d.db.read(ctx).Select(deadLetterColumns).Where("id = ?", id).Take(&row).Error
	if err != nil {
		return DeadLetter{}, fmt.Errorf("get dead letter %d: %w", id, classify(err))
	}
	return row.letter()
}

// Retry sends the letters that filter means back into the line and returns how many. In one transaction it puts them into the
// spool, due now, in batches that encode writes as for the queue, and deletes them; when anything fails, encode included, nothing
// is moved. Raw and ReceivedAt stay what they were, and the origin becomes ingest.Replay. A letter that several calls mean
// is moved once.
func (d *DeadLetters) Retry(
	ctx context.Context, filter DeadLetterFilter, encode func([]ingest.Envelope) ([]byte, error),
) (letters int, err error) {
	err = d.db.write(ctx, func(tx *gorm.DB) error {
		for {
			batch, err := nextToRetry(tx, filter)
			if err != nil || len(batch) == 0 {
				return err
			}
			if err := d.db.retryBatch(tx, batch, encode); err != nil {
				return err
			}
			letters += len(batch)
		}
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

func (db *DB) retryBatch(tx *gorm.DB, rows []deadLetterRow, encode func([]ingest.Envelope) ([]byte, error)) error {
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
	_, err = db.insertSpooled(tx, ingest.Spooled{Payload: payload, Updates: len(rows), OldestAt: oldest})
	if err != nil {
		return err
	}
	return tx.Where("id IN ?", ids).Delete(&deadLetterRow{}).Error
}

// Drop deletes the letters of those numbers for good and returns how many there were.
func (d *DeadLetters) Drop(ctx context.Context, ids []int64) (letters int, err error) {
	err = d.db.write(ctx, func(tx *gorm.DB) error {
		dropped := tx.Where("id IN ?", ids).Delete(&deadLetterRow{})
		letters = int(dropped.RowsAffected)
		return dropped.Error
	})
	if err != nil {
		return 0, fmt.Errorf("drop dead letters: %w", err)
	}
	return letters, nil
}

func (f DeadLetterFilter) of(tx *gorm.DB) *gorm.DB {
	if f.IDs != nil {
		tx = tx.Where("id IN ?", f.IDs)
	}
	if f.Class != "" {
		tx = tx.Where("class = ?", f.Class)
	}
	if f.Source != (ingest.Source{}) {
		tx = tx.Where("source = ?", f.Source.String())
	}
	return tx
}

// deadLetterNames is the columns of dead_letters without the bytes; deadLetterColumns is all that is read.
var (
	deadLetterNames = []string{
		"id", "source", "update_id", "class", "error", "normaliser_version", "received_at", "died_at", "origin", "format", "layer",
	}
	deadLetterColumns = append(slices.Clip(deadLetterNames), "request", "payload")
)

// deadLetterRow is a row of dead_letters.
type deadLetterRow struct {
	ID                int64
	Source            string
	UpdateID          int64
	Class             string
	Error             string
	NormaliserVersion uint16
	ReceivedAt        instant
	DiedAt            instant
	Origin            ingest.Origin
	Format            ingest.Format
	Layer             uint32
	Request           []byte
	Payload           []byte
}

// TableName is for GORM.
func (deadLetterRow) TableName() string { return "dead_letters" }

func (r *deadLetterRow) letter() (DeadLetter, error) {
	source, err := ingest.ParseSource(r.Source)
	if err != nil {
		return DeadLetter{}, fault.As(fault.Permanent, fmt.Errorf("dead letter %d: %w", r.ID, err))
	}
	return DeadLetter{ID: r.ID, DeadLetter: ingest.DeadLetter{
		Envelope: ingest.Envelope{
			Source: source, ReceivedAt: r.ReceivedAt.Time, Origin: r.Origin, Format: r.Format, Layer: r.Layer,
			Request: r.Request, Raw: r.Payload,
		},
		UpdateID: r.UpdateID, Class: r.Class, Error: r.Error, NormaliserVersion: r.NormaliserVersion, DiedAt: r.DiedAt.Time,
	}}, nil
}
