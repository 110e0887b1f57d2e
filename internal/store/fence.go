package store

import (
	"errors"
	"fmt"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/tgfleet/tgfleet/internal/account"
	"github.com/tgfleet/tgfleet/internal/fault"
)

// leaseRow is a lease as the table has it.
type leaseRow struct {
	Name      string `gorm:"primaryKey"`
	Owner     string
	Epoch     int64
	ExpiresAt instant
}

// TableName implements gorm's schema.Tabler.
func (leaseRow) TableName() string { return "leases" }

// fence refuses a write of somebody who holds lease no more, with a fault.NotFound error. It must come first in the transaction: nobody else can
// take the lease until it has ended, so the write and the loss of the lease are in one order for everybody. That the lease has expired is no
// matter as long as nobody else has taken it.
func fence(tx *gorm.DB, lease account.Lease) error {
	var held leaseRow
	found := tx.Clauses(clause.Locking{Strength: clause.LockingStrengthShare}).
		Where("name = ? AND owner = ? AND epoch = ?", lease.Name, lease.Owner, lease.Epoch).Take(&held)
	if errors.Is(found.Error, gorm.ErrRecordNotFound) {
		return fault.As(fault.NotFound, fmt.Errorf("lease %s, epoch %d, is lost", lease.Name, lease.Epoch))
	}
	return found.Error
}
