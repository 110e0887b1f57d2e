package store

import (
	"context"
	"errors"
	"fmt"

	"gorm.io/gorm"

	"github.com/tgfleet/tgfleet/internal/account"
	"github.com/tgfleet/tgfleet/internal/fault"
)

// sessionsKept is how many versions of a connector's session are kept, beside the newest authorised one.
const sessionsKept = 5

// Sessions are the sealed MTProto sessions of connectors, in versions. What nobody has signed in with never takes the place of what somebody has.
// Any number of goroutines and processes may use it.
type Sessions struct {
	db *DB
}

// Sessions returns the repository of the connectors' sessions.
func (db *DB) Sessions() *Sessions { return &Sessions{db: db} }

// sessionRow is a session as the table has it.
type sessionRow struct {
	ConnectorID string `gorm:"primaryKey"`
	Version     int64  `gorm:"primaryKey;autoIncrement:false"`
	Attempt     int64
	Authorised  bool
	Sealed      string
	CreatedAt   instant
}

// TableName implements gorm's schema.Tabler.
func (sessionRow) TableName() string { return "connector_sessions" }

func (r *sessionRow) session() account.Session {
	return account.Session{Version: r.Version, Authorised: r.Authorised, Sealed: r.Sealed}
}

// Load returns the newest session of a connector that somebody has signed in with, else the newest, and false when there is none.
func (s *Sessions) Load(ctx context.Context, connectorID string) (account.Session, bool, error) {
	return s.first(s.db.read(ctx).Where("connector_id = ?", connectorID).Order("authorised DESC, version DESC"), connectorID)
}

// LoadPending returns the newest session that the sign-in attempt has made, and false when it has made none.
func (s *Sessions) LoadPending(ctx context.Context, connectorID string, attempt int64) (account.Session, bool, error) {
	return s.first(s.db.read(ctx).Where("connector_id = ? AND attempt = ?", connectorID, attempt).Order("version DESC"), connectorID)
}

func (s *Sessions) first(query *gorm.DB, connectorID string) (account.Session, bool, error) {
	var row sessionRow
	err := query.Take(&row).Error
	if errors.Is(err, gorm.ErrRecordNotFound) {
		return account.Session{}, false, nil
	}
	if err != nil {
		return account.Session{}, false, fmt.Errorf("load session of connector %s: %w", connectorID, classify(err))
	}
	return row.session(), true, nil
}

// Save adds a version and returns its number. With an attempt it belongs to that sign-in, which has to be under way. Without one, which is
// attempt 0, a session that nobody has signed in with is refused with a fault.Permanent error where there is one that somebody has.
func (s *Sessions) Save(
	ctx context.Context, lease account.Lease, connectorID string, session account.Session, attempt int64,
) (version int64, err error) {
	err = s.db.write(ctx, func(tx *gorm.DB) error {
		if err := fence(tx, lease); err != nil {
			return err
		}
		if err := mayReplace(tx, connectorID, session, attempt); err != nil {
			return err
		}
		var last int64
		if err := tx.Model(&sessionRow{}).Where("connector_id = ?", connectorID).Select("coalesce(max(version), 0)").Scan(&last).Error; err != nil {
			return err
		}
		version = last + 1
		row := sessionRow{ConnectorID: connectorID, Version: version, Attempt: attempt, Authorised: session.Authorised, Sealed: session.Sealed}
		if err := tx.Raw("SELECT " + s.db.dialect.statementTime()).Scan(&row.CreatedAt).Error; err != nil {
			return err
		}
		if err := tx.Create(&row).Error; err != nil {
			return err
		}
		return tx.Where("connector_id = ? AND version <= ?", connectorID, version-sessionsKept).
			Where("version <> (SELECT coalesce(max(version), 0) FROM connector_sessions WHERE connector_id = ? AND authorised)", connectorID).
			Delete(&sessionRow{}).Error
	})
	if err != nil {
		return 0, fmt.Errorf("save session of connector %s: %w", connectorID, err)
	}
	return version, nil
}

func mayReplace(tx *gorm.DB, connectorID string, session account.Session, attempt int64) error {
	if attempt != 0 {
		var underWay int64
		err := tx.Model(&signInRow{}).Where("connector_id = ? AND attempt = ? AND step NOT IN ?", connectorID, attempt, endedSteps).
			Count(&underWay).Error
		if err == nil && underWay == 0 {
			err = fault.As(fault.Permanent, fmt.Errorf("sign-in %d is not under way", attempt))
		}
		return err
	}
	if session.Authorised {
		return nil
	}
	var authorised int64
	err := tx.Model(&sessionRow{}).Where("connector_id = ? AND authorised", connectorID).Count(&authorised).Error
	if err == nil && authorised > 0 {
		err = fault.As(fault.Permanent, errors.New("somebody has signed in with the one that is there"))
	}
	return err
}
