package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/tgfleet/tgfleet/internal/account"
	"github.com/tgfleet/tgfleet/internal/content"
	"github.com/tgfleet/tgfleet/internal/fault"
)

// checkpointsKept is how far back a state can be put; one checkpoint that is older is kept besides.
const checkpointsKept = 10 * time.Minute

// UpdateStates are how far the updates of connectors were taken. Any number of goroutines and processes may use it.
type UpdateStates struct {
	db *DB
}

// UpdateStates returns the repository of the states.
func (db *DB) UpdateStates() *UpdateStates { return &UpdateStates{db: db} }

// stateRow is a place in a sequence as the table has it: that of the common updates when ChannelID is 0.
type stateRow struct {
	ConnectorID    string  `gorm:"primaryKey" json:"-"`
	ChannelID      int64   `gorm:"primaryKey;autoIncrement:false" json:"channel_id"`
	Pts            int     `json:"pts"`
	Qts            int     `json:"qts,omitempty"`
	Date           int     `json:"date,omitempty"`
	Seq            int     `json:"seq,omitempty"`
	AccessHash     int64   `json:"access_hash,omitempty"`
	InaccessibleAt instant `json:"-"`
	// FollowedFrom stays what it was when a row is written with 0, as one from a checkpoint is.
	FollowedFrom int `json:"-"`
}

// TableName implements gorm's schema.Tabler.
func (stateRow) TableName() string { return "update_states" }

// checkpointRow is a state that can be gone back to, as the table has it.
type checkpointRow struct {
	ConnectorID string  `gorm:"primaryKey"`
	TakenAt     instant `gorm:"primaryKey"`
	States      string
}

// TableName implements gorm's schema.Tabler.
func (checkpointRow) TableName() string { return "update_checkpoints" }

// rowsTogether bounds a statement's parameters, of which SQLite takes 32,766.
const rowsTogether = 1000

// Load returns how far the common updates of a connector were taken, and false when nothing is known.
func (u *UpdateStates) Load(ctx context.Context, connectorID string) (account.UpdateState, bool, error) {
	var row stateRow
	err := u.db.read(ctx).Where("connector_id = ? AND channel_id = 0", connectorID).Take(&row).Error
	if errors.Is(err, gorm.ErrRecordNotFound) {
		return account.UpdateState{}, false, nil
	}
	if err != nil {
		return account.UpdateState{}, false, fmt.Errorf("load state of connector %s: %w", connectorID, classify(err))
	}
	return account.UpdateState{Pts: row.Pts, Qts: row.Qts, Date: row.Date, Seq: row.Seq, FollowedFrom: row.FollowedFrom}, true, nil
}

// Channels returns how far the updates of each channel were taken.
func (u *UpdateStates) Channels(ctx context.Context, connectorID string) ([]account.ChannelState, error) {
	var rows []stateRow
	if err := u.db.read(ctx).Where("connector_id = ? AND channel_id <> 0", connectorID).Find(&rows).Error; err != nil {
		return nil, fmt.Errorf("load channels of connector %s: %w", connectorID, classify(err))
	}
	channels := make([]account.ChannelState, len(rows))
	for i, row := range rows {
		channels[i] = account.ChannelState{
			ChannelID: row.ChannelID, Pts: row.Pts, AccessHash: row.AccessHash, Inaccessible: row.InaccessibleAt.Time,
			FollowedFrom: row.FollowedFrom,
		}
	}
	return channels, nil
}

// Followings returns what every connector follows, in the order of connectors and chats. A channel without a place is not followed.
func (u *UpdateStates) Followings(ctx context.Context) ([]account.Following, error) {
	var rows []stateRow
	if err := u.db.read(ctx).Where("pts <> 0").Order("connector_id, channel_id").Find(&rows).Error; err != nil {
		return nil, fmt.Errorf("list what is followed: %w", classify(err))
	}
	followings := make([]account.Following, len(rows))
	for i, row := range rows {
		followings[i] = account.Following{
			ConnectorID: row.ConnectorID, From: content.MessageID(row.FollowedFrom), Inaccessible: row.InaccessibleAt.Time,
		}
		if row.ChannelID != 0 {
			followings[i].ChatID = content.ChatOfChannel(row.ChannelID)
		}
	}
	return followings, nil
}

// Save writes how far updates were taken, in one transaction; a nil state leaves the common one as it is.
func (u *UpdateStates) Save(
	ctx context.Context, lease account.Lease, connectorID string, state *account.UpdateState, channels []account.ChannelState,
) error {
	rows := make([]stateRow, 0, len(channels)+1)
	if state != nil {
		rows = append(rows, stateRow{
			ConnectorID: connectorID, Pts: state.Pts, Qts: state.Qts, Date: state.Date, Seq: state.Seq, FollowedFrom: state.FollowedFrom,
		})
	}
	for _, c := range channels {
		rows = append(rows, stateRow{
			ConnectorID: connectorID, ChannelID: c.ChannelID, Pts: c.Pts, AccessHash: c.AccessHash, InaccessibleAt: instant{c.Inaccessible},
			FollowedFrom: c.FollowedFrom,
		})
	}
	err := u.db.write(ctx, func(tx *gorm.DB) error {
		if err := fence(tx, lease); err != nil {
			return err
		}
		return saveStates(tx, rows)
	})
	if err != nil {
		return fmt.Errorf("save state of connector %s: %w", connectorID, err)
	}
	return nil
}

func saveStates(tx *gorm.DB, rows []stateRow) error {
	if len(rows) == 0 {
		return nil
	}
	set := clause.AssignmentColumns([]string{"pts", "qts", "date", "seq", "access_hash", "inaccessible_at"})
	set = append(set, clause.Assignment{
		Column: clause.Column{Name: "followed_from"},
		Value:  gorm.Expr("CASE WHEN excluded.followed_from <> 0 THEN excluded.followed_from ELSE update_states.followed_from END"),
	})
	onConflict := clause.OnConflict{Columns: []clause.Column{{Name: "connector_id"}, {Name: "channel_id"}}, DoUpdates: set}
	return tx.Clauses(onConflict).CreateInBatches(rows, rowsTogether).Error
}

// Checkpoint puts the stored state aside, to be gone back to for the next ten minutes.
func (u *UpdateStates) Checkpoint(ctx context.Context, lease account.Lease, connectorID string) error {
	err := u.db.write(ctx, func(tx *gorm.DB) error {
		if err := fence(tx, lease); err != nil {
			return err
		}
		var rows []stateRow
		if err := tx.Where("connector_id = ?", connectorID).Order("channel_id").Find(&rows).Error; err != nil {
			return err
		}
		if len(rows) == 0 {
			return nil
		}
		states, err := json.Marshal(rows)
		if err != nil {
			return fmt.Errorf("write states as JSON: %w", err)
		}
		now, err := u.ago(tx, 0)
		if err != nil {
			return err
		}
		checkpoint := checkpointRow{ConnectorID: connectorID, TakenAt: now, States: string(states)}
		if err := tx.Clauses(clause.OnConflict{UpdateAll: true}).Create(&checkpoint).Error; err != nil {
			return err
		}
		newestOld := tx.Session(&gorm.Session{NewDB: true}).Model(&checkpointRow{}).Select("max(taken_at)").
			Where("connector_id = ? AND taken_at <= ?", connectorID, instant{now.Add(-checkpointsKept)})
		return tx.Where("connector_id = ? AND taken_at < (?)", connectorID, newestOld).Delete(&checkpointRow{}).Error
	})
	if err != nil {
		return fmt.Errorf("checkpoint state of connector %s: %w", connectorID, err)
	}
	return nil
}

// Rewind puts the state back to the newest checkpoint that is as old as by at least, else to the oldest, and returns false when there is none.
// Channels that the checkpoint does not know stay as they are.
func (u *UpdateStates) Rewind(ctx context.Context, lease account.Lease, connectorID string, by time.Duration) (done bool, err error) {
	err = u.db.write(ctx, func(tx *gorm.DB) error {
		if err := fence(tx, lease); err != nil {
			return err
		}
		var checkpoints []checkpointRow
		if err := tx.Where("connector_id = ?", connectorID).Order("taken_at DESC").Find(&checkpoints).Error; err != nil || len(checkpoints) == 0 {
			return err
		}
		// Counted from when the account was last followed: that may be long ago.
		then := checkpoints[0].TakenAt.Add(-by)
		to := &checkpoints[len(checkpoints)-1]
		for i := range checkpoints {
			if !checkpoints[i].TakenAt.After(then) {
				to = &checkpoints[i]
				break
			}
		}
		var rows []stateRow
		if err := json.Unmarshal([]byte(to.States), &rows); err != nil {
			return fault.As(fault.Permanent, fmt.Errorf("read a checkpoint: %w", err))
		}
		for i := range rows {
			rows[i].ConnectorID = connectorID
		}
		done = true
		return saveStates(tx, rows)
	})
	if err != nil {
		return false, fmt.Errorf("rewind state of connector %s: %w", connectorID, err)
	}
	return done, nil
}

// ago returns the database's time less d.
func (u *UpdateStates) ago(tx *gorm.DB, d time.Duration) (instant, error) {
	var now instant
	err := tx.Raw("SELECT " + u.db.dialect.clockTime()).Scan(&now).Error
	return instant{now.Add(-d)}, err
}

// QueueID returns what names the Redis that took the connector's updates so far; empty when nothing is known.
func (u *UpdateStates) QueueID(ctx context.Context, connectorID string) (string, error) {
	var row connectorRow
	if err := u.db.read(ctx).Select("queue_id").Where("id = ?", connectorID).Take(&row).Error; err != nil {
		return "", fmt.Errorf("queue of connector %s: %w", connectorID, classify(err))
	}
	return row.QueueID, nil
}

// SetQueueID writes down which Redis takes the connector's updates.
func (u *UpdateStates) SetQueueID(ctx context.Context, lease account.Lease, connectorID, id string) error {
	err := u.db.write(ctx, func(tx *gorm.DB) error {
		if err := fence(tx, lease); err != nil {
			return err
		}
		return changedOne(tx.Model(&connectorRow{}).Where("id = ?", connectorID).Update("queue_id", id))
	})
	if err != nil {
		return fmt.Errorf("set queue of connector %s: %w", connectorID, err)
	}
	return nil
}

// AccessHashes are what accounts prove with that they may see users and channels. Any number of goroutines and processes may use it.
type AccessHashes struct {
	db *DB
}

// AccessHashes returns the repository of the access hashes.
func (db *DB) AccessHashes() *AccessHashes { return &AccessHashes{db: db} }

// Find returns what the account was told of peer, and false when it was told nothing.
func (a *AccessHashes) Find(ctx context.Context, accountID int64, peer content.ChatID) (int64, bool, error) {
	var hash int64
	found := a.db.read(ctx).Table("access_hashes").Select("hash").Where("account_id = ? AND peer = ?", accountID, int64(peer)).
		Limit(1).Scan(&hash)
	if found.Error != nil {
		return 0, false, fmt.Errorf("find access hash: %w", classify(found.Error))
	}
	return hash, found.RowsAffected == 1, nil
}
