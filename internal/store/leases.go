package store

import (
	"context"
	"fmt"
	"time"

	"gorm.io/gorm"

	"github.com/tgfleet/tgfleet/internal/account"
	"github.com/tgfleet/tgfleet/internal/fault"
)

// Leases let one owner at a time do a piece of work. Only the database's clock counts, so that the clocks of processes may differ;
// an owner that does not renew in time has lost its lease and must stop by itself. The epoch grows by one with every
// change of owner, and never starts again. Any number of goroutines and processes may use it.
type Leases struct {
	db *DB
}

// Leases returns the repository of the leases.
func (db *DB) Leases() *Leases { return &Leases{db: db} }

// Acquire gives the lease called name to owner for ttl, and true, when it is free, has expired, or belongs to owner already, who
// then keeps its epoch. Otherwise it changes nothing and returns false. An owner's name belongs to one holder: two that
// share it would both be given the lease.
func (l *Leases) Acquire(ctx context.Context, name, owner string, ttl time.Duration) (account.Lease, bool, error) {
	if owner == "" {
		return account.Lease{}, false, fault.As(fault.Permanent, fmt.Errorf("acquire lease %s: the owner has no name", name))
	}
	later := l.db.dialect.clockTimeAfter()
	lease, acquired, err := l.change(ctx, account.Lease{Name: name, Owner: owner},
		`INSERT INTO leases (name, owner, epoch, expires_at) VALUES (?, ?, 1, `+later+`)
		ON CONFLICT (name) DO UPDATE SET
			owner = excluded.owner,
			epoch = leases.epoch + CASE WHEN leases.owner = excluded.owner THEN 0 ELSE 1 END,
			expires_at = `+later+`
		WHERE leases.owner = excluded.owner OR leases.expires_at <= `+l.db.dialect.clockTime()+`
		RETURNING epoch, expires_at`,
		name, owner, interval(ttl), interval(ttl))
	if err != nil {
		return account.Lease{}, false, fmt.Errorf("acquire lease %s: %w", name, err)
	}
	return lease, acquired, nil
}

// Renew lets lease run for ttl from now. When it is lost, because it has expired or belongs to a later epoch, Renew changes nothing
// and returns a fault.NotFound error: the holder must stop what it does under the lease, and may then acquire it anew.
func (l *Leases) Renew(ctx context.Context, lease account.Lease, ttl time.Duration) (account.Lease, error) {
	renewed, held, err := l.change(ctx, lease,
		`UPDATE leases SET expires_at = `+l.db.dialect.clockTimeAfter()+`
		WHERE name = ? AND owner = ? AND epoch = ? AND expires_at > `+l.db.dialect.clockTime()+`
		RETURNING epoch, expires_at`,
		interval(ttl), lease.Name, lease.Owner, lease.Epoch)
	if err == nil && !held {
		err = fault.As(fault.NotFound, fmt.Errorf("%s lost it", lease.Owner))
	}
	if err != nil {
		return account.Lease{}, fmt.Errorf("renew lease %s, epoch %d: %w", lease.Name, lease.Epoch, err)
	}
	return renewed, nil
}

// Release ends lease at once, so that anybody may acquire it. Releasing a lease that is lost, or released, changes nothing.
func (l *Leases) Release(ctx context.Context, lease account.Lease) error {
	// The row stays and remembers the epoch; nobody is called by the empty name.
	_, _, err := l.change(ctx, lease,
		`UPDATE leases SET owner = '', expires_at = `+l.db.dialect.clockTime()+`
		WHERE name = ? AND owner = ? AND epoch = ? RETURNING epoch, expires_at`,
		lease.Name, lease.Owner, lease.Epoch)
	if err != nil {
		return fmt.Errorf("release lease %s, epoch %d: %w", lease.Name, lease.Epoch, err)
	}
	return nil
}

// Live returns the leases that run and whose names begin with prefix, in the order of their names.
func (l *Leases) Live(ctx context.Context, prefix string) ([]account.Lease, error) {
	var rows []leaseRow
	err := l.db.read(ctx).Where("owner <> '' AND expires_at > "+l.db.dialect.clockTime()).
		Where("substr(name, 1, ?) = ?", len(prefix), prefix).Order("name").Find(&rows).Error
	if err != nil {
		return nil, fmt.Errorf("list leases %s*: %w", prefix, classify(err))
	}
	leases := make([]account.Lease, len(rows))
	for i, row := range rows {
		leases[i] = account.Lease{Name: row.Name, Owner: row.Owner, Epoch: row.Epoch, ExpiresAt: row.ExpiresAt.Time}
	}
	return leases, nil
}

// change runs a statement that returns the epoch and the expiry of lease, or no row when it changed nothing.
func (l *Leases) change(
	ctx context.Context, lease account.Lease, statement string, parameters ...any,
) (changed account.Lease, ok bool, err error) {
	var row struct {
		Epoch     int64
		ExpiresAt instant
	}
	err = l.db.write(ctx, func(tx *gorm.DB) error {
		result := tx.Raw(statement, parameters...).Scan(&row)
		ok = result.RowsAffected == 1
		return result.Error
	})
	if err != nil || !ok {
		return account.Lease{}, false, err
	}
	lease.Epoch, lease.ExpiresAt = row.Epoch, row.ExpiresAt.Time
	return lease, true, nil
}
