package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/tgfleet/tgfleet/internal/account"
	"github.com/tgfleet/tgfleet/internal/fault"
)

// Connectors are the accounts that the fleet listens to over MTProto. Whatever takes a lease is refused, with a fault.NotFound error, once
// somebody else has it. Any number of goroutines and processes may use it.
type Connectors struct {
	db *DB
}

// Connectors returns the repository of the connectors.
func (db *DB) Connectors() *Connectors { return &Connectors{db: db} }

// connectorRow is a connector as the table has it.
type connectorRow struct {
	ID            string `gorm:"primaryKey"`
	Label         string
	Kind          account.ConnectorKind
	Status        account.ConnectorStatus
	AccountID     *int64
	Username      string
	DeviceModel   string
	SystemVersion string
	AppVersion    string
	LastError     string
	LastUpdateAt  instant
	QueueID       string
	CreatedAt     instant
}

// TableName implements gorm's schema.Tabler.
func (connectorRow) TableName() string { return "connectors" }

func (r *connectorRow) connector() account.Connector {
	c := account.Connector{
		ID: r.ID, Label: r.Label, Kind: r.Kind, Status: r.Status, Username: r.Username,
		Device:    account.Device{Model: r.DeviceModel, SystemVersion: r.SystemVersion, AppVersion: r.AppVersion},
		LastError: r.LastError, LastUpdateAt: r.LastUpdateAt.Time, CreatedAt: r.CreatedAt.Time,
	}
	if r.AccountID != nil {
		c.AccountID = *r.AccountID
	}
	return c
}

// Create writes c down; CreatedAt is the database's time when it is zero. A label that is there already is a fault.Permanent error.
func (c *Connectors) Create(ctx context.Context, connector account.Connector) error {
	err := c.db.write(ctx, func(tx *gorm.DB) error {
		row := connectorRow{
			ID: connector.ID, Label: connector.Label, Kind: connector.Kind, Status: connector.Status,
			DeviceModel: connector.Device.Model, SystemVersion: connector.Device.SystemVersion, AppVersion: connector.Device.AppVersion,
			CreatedAt: instant{connector.CreatedAt},
		}
		if row.CreatedAt.IsZero() {
			if err := tx.Raw("SELECT " + c.db.dialect.statementTime()).Scan(&row.CreatedAt).Error; err != nil {
				return err
			}
		}
		added := tx.Clauses(clause.OnConflict{Columns: []clause.Column{{Name: "label"}}, DoNothing: true}).Create(&row)
		if added.Error == nil && added.RowsAffected == 0 {
			return fault.As(fault.Permanent, errors.New("a connector of that label is there already: choose another label, or sign that one in"))
		}
		return added.Error
	})
	if err != nil {
		return fmt.Errorf("add connector %q: %w", connector.Label, err)
	}
	return nil
}

// List returns all connectors in the order of their labels.
func (c *Connectors) List(ctx context.Context) ([]account.Connector, error) {
	var rows []connectorRow
	if err := c.db.read(ctx).Order("label").Find(&rows).Error; err != nil {
		return nil, fmt.Errorf("list connectors: %w", classify(err))
	}
	connectors := make([]account.Connector, len(rows))
	for i := range rows {
		connectors[i] = rows[i].connector()
	}
	return connectors, nil
}

// Find returns the connector that ref names, by its id or its label. No such connector is a fault.NotFound error.
func (c *Connectors) Find(ctx context.Context, ref string) (account.Connector, error) {
	var row connectorRow
	err := c.db.read(ctx).Where("id = ? OR label = ?", ref, ref).Order(clause.Expr{SQL: "id <> ?", Vars: []any{ref}}).Take(&row).Error
	if errors.Is(err, gorm.ErrRecordNotFound) {
		err = fault.As(fault.NotFound, errors.New("there is none of that label or id"))
	}
	if err != nil {
		return account.Connector{}, fmt.Errorf("find connector %q: %w", ref, classify(err))
	}
	return row.connector(), nil
}

// Remove forgets a connector, with its sessions and how far its updates were taken. What it received stays.
func (c *Connectors) Remove(ctx context.Context, id string) error {
	err := c.db.write(ctx, func(tx *gorm.DB) error {
		for _, table := range []any{&sessionRow{}, &signInRow{}, &stateRow{}, &checkpointRow{}, &backfillRow{}, &floodWaitRow{}} {
			if err := tx.Where("connector_id = ?", id).Delete(table).Error; err != nil {
				return err
			}
		}
		return changedOne(tx.Where("id = ?", id).Delete(&connectorRow{}))
	})
	if err != nil {
		return fmt.Errorf("remove connector %s: %w", id, err)
	}
	return nil
}

// Enable has a listener connect the account again. One that never signed in, or whose session Telegram has ended, is a fault.Permanent error.
func (c *Connectors) Enable(ctx context.Context, id string) error {
	err := c.db.write(ctx, func(tx *gorm.DB) error {
		found, err := c.db.changeConnector(tx.Where("id = ? AND account_id IS NOT NULL AND status IN ?", id,
			[]account.ConnectorStatus{account.Disabled, account.Quarantined, account.Connected}),
			func(r *connectorRow) { r.Status, r.LastError = account.Connected, "" })
		if err == nil && !found {
			return fault.As(fault.Permanent, errors.New("it has to sign in first: `tgfleet connector login`"))
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("enable connector %s: %w", id, err)
	}
	return nil
}

// Disable has everybody leave the account alone.
func (c *Connectors) Disable(ctx context.Context, id string) error {
	err := c.db.write(ctx, func(tx *gorm.DB) error {
		return foundOne(c.db.changeConnector(tx.Where("id = ?", id), func(r *connectorRow) { r.Status = account.Disabled }))
	})
	if err != nil {
		return fmt.Errorf("disable connector %s: %w", id, err)
	}
	return nil
}

// SetStatus writes down how a connector is, and why. A connector that somebody has disabled stays disabled.
func (c *Connectors) SetStatus(
	ctx context.Context, lease account.Lease, id string, status account.ConnectorStatus, lastError string,
) error {
	err := c.db.write(ctx, func(tx *gorm.DB) error {
		if err := fence(tx, lease); err != nil {
			return err
		}
		_, err := c.db.changeConnector(tx.Where("id = ? AND status <> ?", id, account.Disabled),
			func(r *connectorRow) { r.Status, r.LastError = status, lastError })
		return err
	})
	if err != nil {
		return fmt.Errorf("set status of connector %s: %w", id, err)
	}
	return nil
}

// SignedIn writes down which account of Telegram's a connector is, and that it is to be connected. It is a
// fault.Permanent error when the connector was another account before, or another connector is that account.
func (c *Connectors) SignedIn(ctx context.Context, lease account.Lease, id string, as account.Identity) error {
	err := c.db.write(ctx, func(tx *gorm.DB) error {
		if err := fence(tx, lease); err != nil {
			return err
		}
		var there []connectorRow
		if err := tx.Where("account_id = ? OR id = ?", as.AccountID, id).Find(&there).Error; err != nil {
			return err
		}
		for i := range there {
			if there[i].ID != id {
				return fault.As(fault.Permanent, fmt.Errorf("connector %s is that account already", there[i].ID))
			}
			if before := there[i].AccountID; before != nil && *before != as.AccountID {
				return fault.As(fault.Permanent, errors.New("it was another account before"))
			}
		}
		authorised := tx.Model(&sessionRow{}).Where("connector_id = ? AND version = ?", id, as.SessionVersion).Update("authorised", true)
		if err := changedOne(authorised); err != nil {
			return err
		}
		return foundOne(c.db.changeConnector(tx.Where("id = ?", id), func(r *connectorRow) {
			r.Status, r.LastError, r.AccountID, r.Username = account.Connected, "", &as.AccountID, as.Username
		}))
	})
	if err != nil {
		return fmt.Errorf("sign in connector %s: %w", id, err)
	}
	return nil
}

// Touched writes down when an update last came.
func (c *Connectors) Touched(ctx context.Context, lease account.Lease, id string, at time.Time) error {
	err := c.db.write(ctx, func(tx *gorm.DB) error {
		if err := fence(tx, lease); err != nil {
			return err
		}
		return tx.Model(&connectorRow{}).Where("id = ? AND (last_update_at IS NULL OR last_update_at < ?)", id, instant{at}).
			Update("last_update_at", instant{at}).Error
	})
	if err != nil {
		return fmt.Errorf("touch connector %s: %w", id, err)
	}
	return nil
}

// changedOne is the error of a statement that had to change one row: fault.NotFound when there was none.
func changedOne(done *gorm.DB) error {
	return foundOne(done.RowsAffected > 0, done.Error)
}

func foundOne(found bool, err error) error {
	if err == nil && !found {
		return fault.As(fault.NotFound, errors.New("it is not there"))
	}
	return err
}
