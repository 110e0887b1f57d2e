package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/tgfleet/tgfleet/internal/account"
	"github.com/tgfleet/tgfleet/internal/content"
	"github.com/tgfleet/tgfleet/internal/fault"
)

// Backfills are the backfills of connectors and the holes that they fill. Whatever takes a lease is refused, with a fault.NotFound error, once
// somebody else has it. Any number of goroutines and processes may use it.
type Backfills struct {
	db *DB
}

// Backfills returns the repository of the backfills.
func (db *DB) Backfills() *Backfills { return &Backfills{db: db} }

// backfillRow is a backfill as the table has it.
type backfillRow struct {
	ID          int64 `gorm:"primaryKey"`
	ConnectorID string
	ChatID      int64
	HoleID      int64
	Takeout     bool
	Since       instant
	BeginID     int64
	FloorID     int64
	TopID       int64
	CursorID    int64
	Total       int
	Messages    int
	Pages       int
	Status      account.BackfillStatus
	Reason      string
	CreatedAt   instant
	StartedAt   instant
	EndedAt     instant
}

// TableName implements gorm's schema.Tabler.
func (backfillRow) TableName() string { return "backfills" }

func (r *backfillRow) backfill() account.Backfill {
	return account.Backfill{
		ID: r.ID, ConnectorID: r.ConnectorID, ChatID: content.ChatID(r.ChatID), HoleID: r.HoleID, Takeout: r.Takeout, Since: r.Since.Time,
		Begin: content.MessageID(r.BeginID), Floor: content.MessageID(r.FloorID), Top: content.MessageID(r.TopID),
		Cursor: content.MessageID(r.CursorID), Total: r.Total, Messages: r.Messages, Pages: r.Pages,
		Status: r.Status, Reason: r.Reason, CreatedAt: r.CreatedAt.Time, StartedAt: r.StartedAt.Time, EndedAt: r.EndedAt.Time,
	}
}

func rowOfBackfill(b *account.Backfill) backfillRow {
	return backfillRow{
		ConnectorID: b.ConnectorID, ChatID: int64(b.ChatID), HoleID: b.HoleID, Takeout: b.Takeout, Since: instant{b.Since},
		BeginID: int64(b.Begin), FloorID: int64(b.Floor), Status: account.BackfillWaiting,
	}
}

// holeRow is a hole as the table has it.
type holeRow struct {
	ID             int64
	AccountID      int64
	ChatID         int64
	Reason         content.HoleReason
	FromPts        int
	ToPts          int
	BelowMessageID int64
	FoundAt        instant
	Status         account.HoleStatus
}

// TableName implements gorm's schema.Tabler.
func (holeRow) TableName() string { return "holes" }

func (r *holeRow) hole() account.Hole {
	return account.Hole{ID: r.ID, Status: r.Status, Hole: content.Hole{
		AccountID: r.AccountID, ChatID: content.ChatID(r.ChatID), Reason: r.Reason, FromPts: r.FromPts, ToPts: r.ToPts,
		BelowMessageID: content.MessageID(r.BelowMessageID), FoundAt: r.FoundAt.Time,
	}}
}

// Start writes down that somebody asks for a chat's history, and returns the backfill with its id. While another that somebody asked for
// is under way for the same chat and connector, it is a fault.Permanent error.
func (b *Backfills) Start(ctx context.Context, wanted account.Backfill) (account.Backfill, error) {
	row := rowOfBackfill(&wanted)
	err := b.db.write(ctx, func(tx *gorm.DB) error {
		// The connector's row is the lock of those who start at the same time.
		lock := tx.Clauses(clause.Locking{Strength: clause.LockingStrengthUpdate}).Where("id = ?", row.ConnectorID).Take(&connectorRow{})
		if lock.Error != nil {
			return lock.Error
		}
		var there backfillRow
		found := tx.Where("connector_id = ? AND chat_id = ? AND hole_id = 0 AND ended_at IS NULL", row.ConnectorID, row.ChatID).Take(&there)
		if found.Error == nil {
			return fault.As(fault.Permanent, fmt.Errorf("backfill %d of that chat is under way: watch it, or cancel it first", there.ID))
		}
		if !errors.Is(found.Error, gorm.ErrRecordNotFound) {
			return found.Error
		}
		now, err := b.now(tx)
		if err != nil {
			return err
		}
		row.CreatedAt = now
		return tx.Create(&row).Error
	})
	if err != nil {
		return account.Backfill{}, fmt.Errorf("start backfill: %w", err)
	}
	return row.backfill(), nil
}

// List returns all backfills, newest first.
func (b *Backfills) List(ctx context.Context) ([]account.Backfill, error) {
	return b.rows(b.db.read(ctx).Order("id DESC"))
}

// Due returns a connector's backfills that have not ended, in the order in which they are to be read: what fills holes first, the newest hole
// before older ones, then what somebody asked for, one after the other.
func (b *Backfills) Due(ctx context.Context, connectorID string) ([]account.Backfill, error) {
	return b.rows(b.db.read(ctx).Where("connector_id = ? AND ended_at IS NULL", connectorID).Order("hole_id DESC, id"))
}

func (b *Backfills) rows(query *gorm.DB) ([]account.Backfill, error) {
	var rows []backfillRow
	if err := query.Find(&rows).Error; err != nil {
		return nil, fmt.Errorf("list backfills: %w", classify(err))
	}
	backfills := make([]account.Backfill, len(rows))
	for i := range rows {
		backfills[i] = rows[i].backfill()
	}
	return backfills, nil
}

// Find returns the backfill with that id. No such backfill is a fault.NotFound error.
func (b *Backfills) Find(ctx context.Context, id int64) (account.Backfill, error) {
	var row backfillRow
	err := b.db.read(ctx).Where("id = ?", id).Take(&row).Error
	if errors.Is(err, gorm.ErrRecordNotFound) {
		err = fault.As(fault.NotFound, errors.New("there is none"))
	}
	if err != nil {
		return account.Backfill{}, fmt.Errorf("find backfill %d: %w", id, classify(err))
	}
	return row.backfill(), nil
}

// Cancel ends a backfill; what it has read stays. It is a fault.Permanent error when it has ended.
func (b *Backfills) Cancel(ctx context.Context, id int64) error {
	err := b.db.write(ctx, func(tx *gorm.DB) error {
		return b.end(tx, &account.Backfill{ID: id, Status: account.BackfillCancelled})
	})
	if err != nil {
		return fmt.Errorf("cancel backfill %d: %w", id, err)
	}
	return nil
}

// errEnded is the error of a change to a backfill that has ended.
var errEnded = fault.As(fault.Permanent, errors.New("it has ended, or there is none"))

// Advance writes down how far a backfill has come, and its end where its status is one. It is a fault.Permanent error when it has ended before.
func (b *Backfills) Advance(ctx context.Context, lease account.Lease, backfill account.Backfill) error {
	err := b.db.write(ctx, func(tx *gorm.DB) error {
		if err := fence(tx, lease); err != nil {
			return err
		}
		now, err := b.now(tx)
		if err != nil {
			return err
		}
		old := instant{now.Add(-checkpointsKept)}
		changed := tx.Model(&backfillRow{}).Where("id = ? AND ended_at IS NULL", backfill.ID).Updates(map[string]any{
			"begin_id": int64(backfill.Begin), "floor_id": int64(backfill.Floor), "top_id": int64(backfill.Top), "cursor_id": int64(backfill.Cursor),
			"total": backfill.Total, "messages": backfill.Messages, "pages": backfill.Pages, "status": account.BackfillRunning,
			"started_at": gorm.Expr("coalesce(started_at, ?)", now),
			// The right sides see the row as it was.
			"mark_before_id": gorm.Expr("CASE WHEN "+markIsOld+" THEN mark_id ELSE mark_before_id END", old),
			"mark_id":        gorm.Expr("CASE WHEN "+markIsOld+" THEN ? ELSE mark_id END", old, int64(backfill.Cursor)),
			"mark_at":        gorm.Expr("CASE WHEN "+markIsOld+" THEN ? ELSE mark_at END", old, now),
		})
		if changed.Error == nil && changed.RowsAffected == 0 {
			return errEnded
		}
		if changed.Error != nil || !backfill.Status.Ended() {
			return changed.Error
		}
		return b.end(tx, &backfill)
	})
	if err != nil {
		return fmt.Errorf("advance backfill %d: %w", backfill.ID, err)
	}
	return nil
}

// markIsOld is the condition that a backfill's mark is from before a time, or not there yet.
const markIsOld = "(mark_at IS NULL OR mark_at <= ?)"

// Rewind lets the backfills of a connector go back to where they were ten minutes or more before, those that are done since by at most too, and
// opens the holes again that they had filled.
func (b *Backfills) Rewind(ctx context.Context, lease account.Lease, connectorID string, by time.Duration) error {
	err := b.db.write(ctx, func(tx *gorm.DB) error {
		if err := fence(tx, lease); err != nil {
			return err
		}
		now, err := b.now(tx)
		if err != nil {
			return err
		}
		last, err := lastFollowed(tx, connectorID, now)
		if err != nil {
			return err
		}
		then := instant{last.Add(-by)}
		holes := tx.Exec(`UPDATE holes SET status = ?, closed_at = NULL WHERE status = ? AND closed_at > ?
			AND id IN (SELECT hole_id FROM backfills WHERE connector_id = ?)`, account.HoleOpen, account.HoleFilled, then, connectorID)
		if holes.Error != nil {
			return holes.Error
		}
		// Those that did not end well stay ended; what they had read is as doubtful.
		ended := tx.Exec(`UPDATE backfills SET cursor_id = mark_before_id, top_id = CASE WHEN mark_before_id = 0 THEN 0 ELSE top_id END
			WHERE connector_id = ? AND pages > 0 AND status IN ? AND ended_at > ?`,
			connectorID, []account.BackfillStatus{account.BackfillFailed, account.BackfillCancelled}, then)
		if ended.Error != nil {
			return ended.Error
		}
		return tx.Exec(`UPDATE backfills SET cursor_id = mark_before_id, top_id = CASE WHEN mark_before_id = 0 THEN 0 ELSE top_id END,
				mark_id = mark_before_id, mark_at = NULL, status = ?, ended_at = NULL
			WHERE connector_id = ? AND pages > 0 AND (ended_at IS NULL OR status = ? AND ended_at > ?)`,
			account.BackfillWaiting, connectorID, account.BackfillDone, then).Error
	})
	if err != nil {
		return fmt.Errorf("rewind backfills of connector %s: %w", connectorID, err)
	}
	return nil
}

// lastFollowed returns when the connector's newest checkpoint was taken: nobody read anything much later. Without one it is now.
func lastFollowed(tx *gorm.DB, connectorID string, now instant) (instant, error) {
	var last instant
	err := tx.Table("update_checkpoints").Select("max(taken_at)").Where("connector_id = ?", connectorID).Scan(&last).Error
	if err != nil || last.IsZero() {
		return now, err
	}
	return last, nil
}

// end ends a backfill as its status says, and closes the hole of which it was the last.
func (b *Backfills) end(tx *gorm.DB, backfill *account.Backfill) error {
	now, err := b.now(tx)
	if err != nil {
		return err
	}
	var row backfillRow
	ended := tx.Model(&row).Clauses(clause.Returning{}).Where("id = ? AND ended_at IS NULL", backfill.ID).
		Updates(map[string]any{"status": backfill.Status, "reason": backfill.Reason, "ended_at": now})
	if ended.Error == nil && ended.RowsAffected == 0 {
		return errEnded
	}
	if ended.Error != nil || row.HoleID == 0 {
		return ended.Error
	}
	// Of two who end the last two of a hole at the same time, the second sees what the first did.
	lock := tx.Clauses(clause.Locking{Strength: clause.LockingStrengthUpdate}).Select("id").Where("id = ?", row.HoleID).Find(&[]holeRow{})
	if lock.Error != nil {
		return lock.Error
	}
	var siblings []backfillRow
	if err := tx.Where("hole_id = ?", row.HoleID).Find(&siblings).Error; err != nil {
		return err
	}
	status := account.HoleFilled
	for i := range siblings {
		switch siblings[i].Status {
		case account.BackfillDone:
		case account.BackfillFailed, account.BackfillCancelled:
			status = account.HoleGivenUp
		default:
			return nil
		}
	}
	return closeHole(tx, row.HoleID, status, now)
}

func closeHole(tx *gorm.DB, id int64, status account.HoleStatus, now instant) error {
	return tx.Table("holes").Where("id = ? AND status = ?", id, account.HoleOpen).
		Updates(map[string]any{"status": status, "closed_at": now}).Error
}

// Holes returns all holes, newest first.
func (b *Backfills) Holes(ctx context.Context) ([]account.Hole, error) {
	return b.holes(b.db.read(ctx).Order("id DESC"))
}

// Unplanned returns the open holes of an account that no backfill fills yet, oldest first.
func (b *Backfills) Unplanned(ctx context.Context, accountID int64) ([]account.Hole, error) {
	return b.holes(b.db.read(ctx).Order("id").
		Where("account_id = ? AND status = ? AND NOT EXISTS (SELECT 1 FROM backfills WHERE hole_id = holes.id)", accountID, account.HoleOpen))
}

func (b *Backfills) holes(query *gorm.DB) ([]account.Hole, error) {
	var rows []holeRow
	if err := query.Find(&rows).Error; err != nil {
		return nil, fmt.Errorf("list holes: %w", classify(err))
	}
	holes := make([]account.Hole, len(rows))
	for i := range rows {
		holes[i] = rows[i].hole()
	}
	return holes, nil
}

// OpenHoles counts the holes of all accounts that nothing has filled yet.
func (b *Backfills) OpenHoles(ctx context.Context) (open int64, err error) {
	if err := b.db.read(ctx).Table("holes").Where("status = ?", account.HoleOpen).Count(&open).Error; err != nil {
		return 0, fmt.Errorf("count open holes: %w", classify(err))
	}
	return open, nil
}

// Plan writes down the backfills that fill a hole together; with none of them the hole is closed with status. A hole that was planned or
// closed before stays as it is.
func (b *Backfills) Plan(
	ctx context.Context, lease account.Lease, hole account.Hole, status account.HoleStatus, fills []account.Backfill,
) error {
	err := b.db.write(ctx, func(tx *gorm.DB) error {
		if err := fence(tx, lease); err != nil {
			return err
		}
		now, err := b.now(tx)
		if err != nil {
			return err
		}
		if len(fills) == 0 {
			return closeHole(tx, hole.ID, status, now)
		}
		rows := make([]backfillRow, len(fills))
		for i := range fills {
			rows[i] = rowOfBackfill(&fills[i])
			rows[i].HoleID, rows[i].CreatedAt = hole.ID, now
		}
		return tx.Clauses(clause.OnConflict{DoNothing: true}).CreateInBatches(rows, rowsTogether).Error
	})
	if err != nil {
		return fmt.Errorf("plan the backfills of hole %d: %w", hole.ID, err)
	}
	return nil
}

// now returns the database's time.
func (b *Backfills) now(tx *gorm.DB) (now instant, err error) {
	return now, tx.Raw("SELECT " + b.db.dialect.statementTime()).Scan(&now).Error
}
