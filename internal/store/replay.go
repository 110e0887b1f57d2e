package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"gorm.io/gorm"

	"github.com/tgfleet/tgfleet/internal/content"
	"github.com/tgfleet/tgfleet/internal/fault"
	"github.com/tgfleet/tgfleet/internal/ingest"
)

// replayHold is for how long a replay belongs to its process after each page, on the database's clock: long against a page, and short
// against the patience of whoever takes it up after the process was killed.
const replayHold = 30 * time.Second

// Replays reads the ledger again, and writes what the normaliser of today makes of it. What a newer normaliser reads wins over what an older
// one made of the same update, and over nothing else; no event leaves. What an older one made and the newer one does not
// make at all stays, but for contents of messages, which are replaced. Any number of goroutines and processes may use it.
type Replays struct {
	db      *DB
	archive *Archive
}

// Replays returns the repository for reading the ledger again.
func (db *DB) Replays() *Replays { return &Replays{db: db, archive: db.Archive()} }

// ReplayRange says which updates are read again: those that meet all its fields. A zero field asks for nothing.
type ReplayRange struct {
	// From and To bound the time of receipt; To itself is left out.
	From, To time.Time
	Source   ingest.Source
	// Kind is the ledger's, as an older normaliser may have seen it.
	Kind ingest.Kind
}

// Replay is one reading of the ledger, as far as it has come. The zero Replay with a Range is one that nobody keeps: Preview needs no more.
type Replay struct {
	// ID is 0 while nobody keeps it.
	ID                int64
	Range             ReplayRange
	NormaliserVersion uint16
	// Updates counts the updates that were read, Changed the rows of the archive that are different since, and Refused the updates that the
	// normaliser or the database did not take; their rows stay as they were.
	Updates, Changed, Refused int
	StartedAt                 time.Time
	// Done says that it has come to its end.
	Done bool

	after ledgerPlace
}

// ledgerPlace is a row of the ledger in the order of its primary key. The zero place is before every row.
type ledgerPlace struct {
	day      string
	source   string
	updateID int64
	hash     []byte
}

// Reader makes a change set of a row of the ledger, payload included. It is called within a transaction, and may be called again for the same
// row; its error says that the row can't be read.
type Reader func(*LedgerRow) (content.ChangeSet, error)

// Reading is what one page of a replay came to.
type Reading struct {
	Updates int
	// Changes are the rows of the archive that the page changes.
	Changes []RowChange
	Refused []Refusal
}

// Refusal is an update that could not be read or written.
type Refusal struct {
	Source   ingest.Source
	UpdateID int64
	// Reason quotes nothing of the update.
	Reason error
}

// Begin takes up the replay of what by the normaliser of version that did not come to its end, or starts one. It belongs to this process
// until Release, or until it has turned no page for 30 s. When another process has it the error is fault.Throttled, and says when to try again.
func (r *Replays) Begin(ctx context.Context, what ReplayRange, version uint16) (replay Replay, err error) {
	err = r.db.write(ctx, func(tx *gorm.DB) error {
		// Of two that begin at once the second finds what the first has begun. SQLite has one writer anyway.
		if r.db.dialect == onPostgres {
			if err := tx.Exec("LOCK TABLE replays IN SHARE ROW EXCLUSIVE MODE").Error; err != nil {
				return err
			}
		}
		row, err := r.find(tx, what, version)
		if err != nil {
			return err
		}
		if wait := row.HeldUntil.Sub(row.Now.Time); wait > 0 {
			return fault.Throttle(wait, errors.New("another process runs it, or was killed a moment ago"))
		}
		if row.ID == 0 {
			row, err = r.start(tx, what, version)
		} else {
			err = r.hold(tx, row.ID, replayHold)
		}
		replay = row.replay(what)
		return err
	})
	if err != nil {
		return Replay{}, fmt.Errorf("begin replay: %w", err)
	}
	return replay, nil
}

// Next reads the next updates, limit at most, and writes what read makes of them and how far replay has come, in one transaction. An
// update that can never be written is refused, and the others of its page are not. When replay has been taken up by another process
// nothing is written, and the error is fault.NotFound.
func (r *Replays) Next(ctx context.Context, replay *Replay, limit int, read Reader) (Reading, error) {
	return r.turn(ctx, replay, turn{limit: limit, read: read, save: r.save})
}

// Preview is Next, but writes nothing: it tells what Next would change. What one page would change the next one does not see.
func (r *Replays) Preview(ctx context.Context, replay *Replay, limit int, read Reader) (Reading, error) {
	return r.turn(ctx, replay, turn{limit: limit, read: read, save: func(*gorm.DB, *Replay, int) error { return errPreview }})
}

// errPreview undoes the transaction of a preview.
var errPreview = errors.New("only a preview")

// Release gives replay up, so that anybody may take it up at once.
func (r *Replays) Release(ctx context.Context, replay Replay) error {
	err := r.db.write(ctx, func(tx *gorm.DB) error { return r.hold(tx, replay.ID, 0) })
	if err != nil {
		return fmt.Errorf("release replay %d: %w", replay.ID, err)
	}
	return nil
}

// Keep holds replay while no page is turned.
func (r *Replays) Keep(ctx context.Context, replay Replay) error {
	err := r.db.write(ctx, func(tx *gorm.DB) error { return r.hold(tx, replay.ID, replayHold) })
	if err != nil {
		return fmt.Errorf("keep replay %d: %w", replay.ID, err)
	}
	return nil
}

// Remaining counts the updates that replay has not read yet. It reads the whole range.
func (r *Replays) Remaining(ctx context.Context, replay Replay) (updates int, err error) {
	var count int64
	if err := r.rest(r.db.read(ctx).Table("updates"), &replay).Count(&count).Error; err != nil {
		return 0, fmt.Errorf("count updates to replay: %w", classify(err))
	}
	return int(count), nil
}

// turn is one page to be read.
type turn struct {
	limit int
	read  Reader
	// save keeps how far the replay has come; before is how many updates it had read.
	save func(tx *gorm.DB, replay *Replay, before int) error
}

// turn reads a page. When the database refuses it for good the page is halved until the update is found that it refuses.
func (r *Replays) turn(ctx context.Context, replay *Replay, t turn) (Reading, error) {
	t.limit = max(t.limit, 1)
	for {
		next, reading, err := r.page(ctx, replay, t)
		switch {
		case err == nil:
			*replay = next
			return reading, nil
		case fault.ClassOf(err) != fault.Permanent:
			return Reading{}, fmt.Errorf("replay: %w", err)
		case t.limit > 1:
			t.limit /= 2
		default:
			t.read = func(*LedgerRow) (content.ChangeSet, error) { return content.ChangeSet{}, err }
		}
	}
}

// page reads a page in one transaction. Until it ends the partition of a row that was read can't be dropped, so that no update is
// written into the ledger anew.
func (r *Replays) page(ctx context.Context, replay *Replay, t turn) (next Replay, reading Reading, err error) {
	err = r.db.write(ctx, func(tx *gorm.DB) error {
		rows, err := findLedgerRows(r.rest(tx, replay).Select(ledgerColumns).Order("day, source, update_id, hash").Limit(t.limit))
		if err != nil {
			return err
		}
		next, reading = *replay, Reading{Updates: len(rows)}
		next.Done = len(rows) < t.limit
		batch := read(rows, t.read, &reading)
		w := writer{Archive: r.archive, conn: tx.Statement.ConnPool}
		if reading.Changes, err = w.reread(ctx, &batch); err != nil {
			return err
		}
		next.advance(rows, &reading)
		return t.save(tx, &next, replay.Updates)
	})
	if errors.Is(err, errPreview) {
		err = nil
	}
	return next, reading, err
}

// read makes the batch of rows, and adds to reading what is refused.
func read(rows []LedgerRow, reader Reader, reading *Reading) (batch content.Batch) {
	for i := range rows {
		change, err := reader(&rows[i])
		if err == nil {
			err = checkTimes(&content.Batch{Changes: []content.ChangeSet{change}})
		}
		if err != nil {
			reading.Refused = append(reading.Refused, Refusal{Source: rows[i].Source, UpdateID: rows[i].UpdateID, Reason: err})
			continue
		}
		batch.Changes = append(batch.Changes, change)
	}
	return batch
}

// advance counts a page and moves behind its last row.
func (p *Replay) advance(rows []LedgerRow, reading *Reading) {
	p.Updates += reading.Updates
	p.Changed += len(reading.Changes)
	p.Refused += len(reading.Refused)
	if len(rows) > 0 {
		last := &rows[len(rows)-1]
		p.after = ledgerPlace{
			day: last.ReceivedAt.Format(time.DateOnly), source: last.Source.String(), updateID: last.UpdateID, hash: last.Hash[:],
		}
	}
}

// rest returns the query for the updates that replay has not read yet.
func (r *Replays) rest(tx *gorm.DB, replay *Replay) *gorm.DB {
	what := replay.Range
	// An update whose bytes were erased can't be read again.
	tx = tx.Where("length(payload) > 0")
	if !what.From.IsZero() {
		tx = tx.Where("day >= ? AND received_at >= ?", what.From.UTC().Format(time.DateOnly), instant{what.From})
	}
	if !what.To.IsZero() {
		tx = tx.Where("day <= ? AND received_at < ?", what.To.UTC().Format(time.DateOnly), instant{what.To})
	}
	if what.Source != (ingest.Source{}) {
		tx = tx.Where("source = ?", what.Source.String())
	}
	if what.Kind != "" {
		tx = tx.Where("kind = ?", what.Kind)
	}
	if at := replay.after; at.day != "" {
		tx = tx.Where("day >= ? AND (day, source, update_id, hash) > (?, ?, ?, ?)", at.day, at.day, at.source, at.updateID, at.hash)
	}
	return tx
}

// replayRow is a row of replays, and the time on the database's clock.
type replayRow struct {
	ID                int64
	NormaliserVersion uint16
	CursorDay         string
	CursorSource      string
	CursorUpdateID    int64
	CursorHash        []byte
	Updates           int
	Changed           int
	Refused           int
	StartedAt         instant
	HeldUntil         instant
	Now               instant
}

const replayColumns = `id, normaliser_version, coalesce(CAST(cursor_day AS text), '') AS cursor_day, cursor_source, cursor_update_id, cursor_hash,
	updates, changed, refused, started_at, held_until`

func (row *replayRow) replay(what ReplayRange) Replay {
	return Replay{
		ID: row.ID, Range: what, NormaliserVersion: row.NormaliserVersion,
		Updates: row.Updates, Changed: row.Changed, Refused: row.Refused, StartedAt: row.StartedAt.Time,
		after: ledgerPlace{day: row.CursorDay, source: row.CursorSource, updateID: row.CursorUpdateID, hash: row.CursorHash},
	}
}

// find returns the replay of what that did not come to its end, and the zero row when there is none.
func (r *Replays) find(tx *gorm.DB, what ReplayRange, version uint16) (row replayRow, err error) {
	err = tx.Raw(`SELECT `+replayColumns+`, `+r.db.dialect.clockTime()+` AS now FROM replays
		WHERE finished_at IS NULL AND normaliser_version = ? AND source = ? AND kind = ?
			AND coalesce(received_from, ?) = ? AND coalesce(received_to, ?) = ?
		ORDER BY id DESC LIMIT 1`, version, sourceText(what.Source), what.Kind,
		never, orNever(what.From), never, orNever(what.To)).Scan(&row).Error
	return row, err
}

// never stands for a bound that is not there.
var never = instant{time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC)}

func orNever(t time.Time) instant {
	if t.IsZero() {
		return never
	}
	return instant{t}
}

func sourceText(s ingest.Source) string {
	if s == (ingest.Source{}) {
		return ""
	}
	return s.String()
}

func (r *Replays) start(tx *gorm.DB, what ReplayRange, version uint16) (row replayRow, err error) {
	err = tx.Raw(`INSERT INTO replays (normaliser_version, received_from, received_to, source, kind, started_at, held_until)
		VALUES (?, ?, ?, ?, ?, `+r.db.dialect.clockTime()+`, `+r.db.dialect.clockTimeAfter()+`) RETURNING `+replayColumns,
		version, instant{what.From}, instant{what.To}, sourceText(what.Source), what.Kind, interval(replayHold)).Scan(&row).Error
	return row, err
}

func (r *Replays) hold(tx *gorm.DB, id int64, hold time.Duration) error {
	return tx.Exec("UPDATE replays SET held_until = "+r.db.dialect.clockTimeAfter()+" WHERE id = ? AND finished_at IS NULL",
		interval(hold), id).Error
}

// save keeps how far replay has come. It was at before when the page was read: whoever took it up meanwhile is elsewhere.
func (r *Replays) save(tx *gorm.DB, replay *Replay, before int) error {
	finished := "NULL"
	if replay.Done {
		finished = r.db.dialect.clockTime()
	}
	saved := tx.Exec(`UPDATE replays SET cursor_day = ?, cursor_source = ?, cursor_update_id = ?, cursor_hash = ?,
			updates = ?, changed = ?, refused = ?, finished_at = `+finished+`, held_until = `+r.db.dialect.clockTimeAfter()+`
		WHERE id = ? AND updates = ? AND finished_at IS NULL`,
		textOrNull(replay.after.day), replay.after.source, replay.after.updateID, bytesOrEmpty(replay.after.hash),
		replay.Updates, replay.Changed, replay.Refused, interval(replayHold), replay.ID, before)
	if saved.Error == nil && saved.RowsAffected == 0 {
		return fault.As(fault.NotFound, fmt.Errorf("replay %d was taken up by another process", replay.ID))
	}
	return saved.Error
}
