package store

import (
	"crypto/rand"
	"errors"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/tgfleet/tgfleet/internal/event"
)

// changeConnector changes the one connector that which finds, and reports whether there is one. Where it then stands otherwise, or for
// another reason, the event of that goes into the outbox: both are there once the transaction has committed, or neither.
func (db *DB) changeConnector(which *gorm.DB, change func(*connectorRow)) (found bool, err error) {
	tx := which.Session(&gorm.Session{NewDB: true}) // the same transaction, without the condition
	var before connectorRow
	// Locked, so that what the event calls the status before is what this change takes the place of.
	err = which.Clauses(clause.Locking{Strength: clause.LockingStrengthUpdate}).Take(&before).Error
	if errors.Is(err, gorm.ErrRecordNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	after := before
	change(&after)
	err = tx.Model(&connectorRow{}).Where("id = ?", before.ID).Select("status", "last_error", "account_id", "username").Updates(&after).Error
	if err != nil || after.Status == before.Status && after.LastError == before.LastError {
		return true, err
	}
	return true, db.tellConnectorChange(tx, &before, &after)
}

// tellConnectorChange writes the event that before became after. Its id is random: the lock on the row lets one writer at a time make the
// change, who makes it once and knows that it is one, so nothing has to recognise it again. A writer who never heard of its commit
// and tries again finds nothing to change. Named by the clock, two changes within its tick would be one.
func (db *DB) tellConnectorChange(tx *gorm.DB, before, after *connectorRow) error {
	var now instant
	if err := tx.Raw("SELECT " + db.dialect.clockTime()).Scan(&now).Error; err != nil {
		return err
	}
	e := event.OfConnectorChanged(&event.ConnectorChange{
		Connector: after.connector(), Previous: before.Status, At: now.Time, Name: rand.Text(),
	})
	return tx.Exec("INSERT INTO platform_events (id, type, source, subject, time, data) VALUES (?, ?, ?, ?, ?, ?)",
		e.ID, string(e.Type), e.Source.String(), e.Subject, instant{e.Time}, string(e.Data)).Error
}
