package store

import (
	"context"
	"errors"
	"fmt"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/tgfleet/tgfleet/internal/account"
	"github.com/tgfleet/tgfleet/internal/fault"
)

// endedSteps are the steps after which nothing more happens.
var endedSteps = []account.SignInStep{account.Done, account.Failed, account.Cancelled}

// SignIns are how far connectors' sign-ins have come: one for each connector, the last that was begun. An operator and a listener take turns on it;
// a turn that is not theirs any more is refused. Any number of goroutines and processes may use it.
type SignIns struct {
	db *DB
}

// SignIns returns the repository of the sign-ins.
func (db *DB) SignIns() *SignIns { return &SignIns{db: db} }

// signInRow is a sign-in as the table has it.
type signInRow struct {
	ConnectorID    string `gorm:"primaryKey"`
	Attempt        int64
	Method         account.SignInMethod
	Step           account.SignInStep
	SealedPhone    string
	SealedCode     string
	SealedPassword string
	SealedToken    string
	SealedCodeHash string
	CodeBy         string
	SealedQR       string `gorm:"column:sealed_qr"`
	QRExpiresAt    instant
	Problem        account.SignInProblem
	RetryAt        instant
	ExpiresAt      instant
}

// TableName implements gorm's schema.Tabler.
func (signInRow) TableName() string { return "sign_ins" }

func signInRowOf(s *account.SignIn) signInRow {
	row := signInRow{
		ConnectorID: s.ConnectorID, Attempt: s.Attempt, Method: s.Method, Step: s.Step,
		CodeBy: s.CodeBy, QRExpiresAt: instant{s.QRExpiresAt}, Problem: s.Problem, RetryAt: instant{s.RetryAt},
		ExpiresAt: instant{s.ExpiresAt},
	}
	// What was given for a sign-in does not outlive it.
	if !s.Step.Ended() {
		row.SealedPhone, row.SealedCode, row.SealedPassword = s.SealedPhone, s.SealedCode, s.SealedPassword
		row.SealedToken, row.SealedCodeHash, row.SealedQR = s.SealedToken, s.SealedCodeHash, s.SealedQR
	}
	return row
}

func (r *signInRow) signIn() account.SignIn {
	return account.SignIn{
		ConnectorID: r.ConnectorID, Attempt: r.Attempt, Method: r.Method, Step: r.Step,
		SealedPhone: r.SealedPhone, SealedCode: r.SealedCode, SealedPassword: r.SealedPassword, SealedToken: r.SealedToken,
		SealedCodeHash: r.SealedCodeHash, CodeBy: r.CodeBy, SealedQR: r.SealedQR, QRExpiresAt: r.QRExpiresAt.Time,
		Problem: r.Problem, RetryAt: r.RetryAt.Time, ExpiresAt: r.ExpiresAt.Time,
	}
}

// Begin begins a sign-in and returns it with its attempt and its end. It is a fault.Permanent error while the connector is connected, and
// while another sign-in of it is under way.
func (s *SignIns) Begin(ctx context.Context, begin account.SignIn) (account.SignIn, error) {
	err := s.db.write(ctx, func(tx *gorm.DB) error {
		var connector connectorRow
		if err := tx.Clauses(clause.Locking{Strength: clause.LockingStrengthUpdate}).Where("id = ?", begin.ConnectorID).
			Take(&connector).Error; err != nil {
			return err
		}
		if connector.Status == account.Connected {
			return fault.As(fault.Permanent, errors.New("the connector is connected: disable it first"))
		}
		before, found, err := s.find(tx, begin.ConnectorID)
		if err != nil {
			return err
		}
		if found && !before.Step.Ended() {
			return fault.As(fault.Permanent, errors.New("another sign-in of the connector is under way"))
		}
		begin.Attempt = before.Attempt + 1
		var end instant
		if err := tx.Raw("SELECT "+s.db.dialect.clockTimeAfter(), interval(account.SignInTime)).Scan(&end).Error; err != nil {
			return err
		}
		begin.ExpiresAt = end.Time
		row := signInRowOf(&begin)
		if err := tx.Clauses(clause.OnConflict{UpdateAll: true}).Create(&row).Error; err != nil {
			return err
		}
		_, err = s.db.changeConnector(tx.Where("id = ?", begin.ConnectorID),
			func(r *connectorRow) { r.Status, r.LastError = account.SigningIn, "" })
		return err
	})
	if err != nil {
		return account.SignIn{}, fmt.Errorf("begin sign-in of connector %s: %w", begin.ConnectorID, err)
	}
	return begin, nil
}

// Find returns the last sign-in of a connector. One whose time is over has failed. No sign-in is a fault.NotFound error.
func (s *SignIns) Find(ctx context.Context, connectorID string) (account.SignIn, error) {
	found, there, err := s.find(s.db.read(ctx), connectorID)
	if err == nil && !there {
		err = fault.As(fault.NotFound, errors.New("there is none"))
	}
	if err != nil {
		return account.SignIn{}, fmt.Errorf("find sign-in of connector %s: %w", connectorID, classify(err))
	}
	return found, nil
}

func (s *SignIns) find(tx *gorm.DB, connectorID string) (account.SignIn, bool, error) {
	var row struct {
		SignIn signInRow `gorm:"embedded"`
		Over   bool
	}
	found := tx.Model(&signInRow{}).Where("connector_id = ?", connectorID).
		Select("*, expires_at <= " + s.db.dialect.clockTime() + " AS over").Limit(1).Scan(&row)
	if found.Error != nil || found.RowsAffected == 0 {
		return account.SignIn{}, false, found.Error
	}
	signIn := row.SignIn.signIn()
	if row.Over && !signIn.Step.Ended() {
		signIn.Step, signIn.Problem = account.Failed, account.TimedOut
	}
	return signIn, true, nil
}

// Give does the operator's turn: change changes the sign-in, which has to be at the step from of that attempt, and whose time is not over. It
// is a fault.Permanent error otherwise.
func (s *SignIns) Give(
	ctx context.Context, connectorID string, attempt int64, from account.SignInStep, change func(*account.SignIn),
) error {
	err := s.db.write(ctx, func(tx *gorm.DB) error {
		now, found, err := s.find(tx.Clauses(clause.Locking{Strength: clause.LockingStrengthUpdate}), connectorID)
		if err != nil {
			return err
		}
		if !found || now.Attempt != attempt || now.Step != from {
			return fault.As(fault.Permanent, fmt.Errorf("sign-in %d is not at the step %s any more", attempt, from))
		}
		change(&now)
		row := signInRowOf(&now)
		return tx.Clauses(clause.OnConflict{UpdateAll: true}).Create(&row).Error
	})
	if err != nil {
		return fmt.Errorf("go on with sign-in of connector %s: %w", connectorID, err)
	}
	return nil
}

// Advance does the listener's turn. It is a fault.Permanent error when the attempt has ended, or another was begun.
func (s *SignIns) Advance(ctx context.Context, lease account.Lease, to account.SignIn) error {
	err := s.db.write(ctx, func(tx *gorm.DB) error {
		if err := fence(tx, lease); err != nil {
			return err
		}
		now, found, err := s.find(tx.Clauses(clause.Locking{Strength: clause.LockingStrengthUpdate}), to.ConnectorID)
		if err != nil {
			return err
		}
		if !found || now.Attempt != to.Attempt || now.Step.Ended() {
			return fault.As(fault.Permanent, fmt.Errorf("sign-in %d is not under way any more", to.Attempt))
		}
		to.ExpiresAt = now.ExpiresAt
		row := signInRowOf(&to)
		return tx.Clauses(clause.OnConflict{UpdateAll: true}).Create(&row).Error
	})
	if err != nil {
		return fmt.Errorf("advance sign-in of connector %s: %w", to.ConnectorID, err)
	}
	return nil
}

// Cancel ends a sign-in that is under way, and with it the connector's being signed in. It changes nothing about one that has ended.
func (s *SignIns) Cancel(ctx context.Context, connectorID string, attempt int64) error {
	err := s.db.write(ctx, func(tx *gorm.DB) error {
		ended := signInRowOf(&account.SignIn{Step: account.Cancelled})
		err := tx.Model(&signInRow{}).Where("connector_id = ? AND attempt = ? AND step NOT IN ?", connectorID, attempt, endedSteps).
			Select("step", "sealed_phone", "sealed_code", "sealed_password", "sealed_token", "sealed_code_hash", "sealed_qr").
			Updates(ended).Error
		if err != nil {
			return err
		}
		// Nobody else may be there to say so: no listener has to run.
		_, err = s.db.changeConnector(tx.Where("id = ? AND status = ?", connectorID, account.SigningIn), func(r *connectorRow) {
			r.Status = account.New
			if r.AccountID != nil {
				r.Status = account.NeedsLogin
			}
		})
		return err
	})
	if err != nil {
		return fmt.Errorf("cancel sign-in of connector %s: %w", connectorID, err)
	}
	return nil
}
