package store

import (
	"context"
	"fmt"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/tgfleet/tgfleet/internal/account"
)

// FloodWaits are until when Telegram lets connectors wait, method by method. Any number of goroutines and processes may use it.
type FloodWaits struct {
	db *DB
}

// FloodWaits returns the repository of the flood waits.
func (db *DB) FloodWaits() *FloodWaits { return &FloodWaits{db: db} }

// floodWaitRow is a flood wait as the table has it.
type floodWaitRow struct {
	ConnectorID string `gorm:"primaryKey"`
	Method      string `gorm:"primaryKey"`
	Until       instant
}

// TableName implements gorm's schema.Tabler.
func (floodWaitRow) TableName() string { return "flood_waits" }

// Load returns until when a connector has to wait with each method that Telegram once let it wait with.
func (f *FloodWaits) Load(ctx context.Context, connectorID string) (map[string]time.Time, error) {
	var rows []floodWaitRow
	if err := f.db.read(ctx).Where("connector_id = ?", connectorID).Find(&rows).Error; err != nil {
		return nil, fmt.Errorf("load flood waits of connector %s: %w", connectorID, classify(err))
	}
	until := make(map[string]time.Time, len(rows))
	for _, row := range rows {
		until[row.Method] = row.Until.Time
	}
	return until, nil
}

// Save writes down until when a connector has to wait with a method. It is refused, with a fault.NotFound error, once somebody else has the lease.
func (f *FloodWaits) Save(ctx context.Context, lease account.Lease, connectorID, method string, until time.Time) error {
	err := f.db.write(ctx, func(tx *gorm.DB) error {
		if err := fence(tx, lease); err != nil {
			return err
		}
		row := floodWaitRow{ConnectorID: connectorID, Method: method, Until: instant{until}}
		return tx.Clauses(clause.OnConflict{UpdateAll: true}).Create(&row).Error
	})
	if err != nil {
		return fmt.Errorf("save flood wait of connector %s: %w", connectorID, err)
	}
	return nil
}
