// Package lease lets one process at a time do a piece of work, over any number of processes, under leases that run on the database's
// clock. Whoever holds one stops by itself before anybody else can have it, also when the database is away or the process was
// frozen; it cannot stop a goroutine that ignores the end of its context, so what must not happen twice has to be fenced by the lease's
// epoch as well.
package lease

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/tgfleet/tgfleet/internal/account"
	"github.com/tgfleet/tgfleet/internal/fault"
	"github.com/tgfleet/tgfleet/internal/pause"
)

// Leases is where leases are kept.
type Leases interface {
	// Acquire returns true when the lease is owner's for ttl from now.
	Acquire(ctx context.Context, name, owner string, ttl time.Duration) (account.Lease, bool, error)
	// Renew returns a fault.NotFound error when the lease is lost.
	Renew(ctx context.Context, lease account.Lease, ttl time.Duration) (account.Lease, error)
	Release(ctx context.Context, lease account.Lease) error
}

// Terms say how long a lease runs and what its holder does about it.
type Terms struct {
	// TTL is for how long nobody else can have the lease after the last renewal.
	TTL time.Duration
	// RenewEvery is how often the holder renews it.
	RenewEvery time.Duration
	// StopAfter is how long the holder works on without a renewal, counted from before the last one that was granted. It is
	// well below TTL: what is between the two is the time in which the work may end.
	StopAfter time.Duration
}

const (
	// renewAgain is when a renewal that was not answered is tried again.
	renewAgain = 2 * time.Second
	// askWithin bounds each question to the database.
	askWithin = 5 * time.Second
)

// errNotRenewed is why work ends when the database did not answer for too long.
var errNotRenewed = errors.New("the lease could not be renewed in time")

// Keeper takes and keeps leases for one owner. Any number of goroutines may use it, but the same lease must not be taken twice at a time.
type Keeper struct {
	leases Leases
	owner  string
	terms  Terms
	log    *slog.Logger
}

// NewKeeper returns a keeper for owner, whose name belongs to nobody else.
func NewKeeper(leases Leases, owner string, terms Terms, log *slog.Logger) *Keeper {
	return &Keeper{leases: leases, owner: owner, terms: terms, log: log}
}

// Held is a lease that was given to a keeper's owner.
type Held struct {
	account.Lease
	// since is when, on our own clock and at the earliest, the lease began to run.
	since time.Time
}

// Take asks for the lease called name, and returns false when somebody else has it.
func (k *Keeper) Take(ctx context.Context, name string) (Held, bool, error) {
	ctx, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()
	since := time.Now()
	lease, taken, err := k.leases.Acquire(ctx, name, k.owner, k.terms.TTL)
	return Held{lease, since}, taken, err
}

// Hold runs work under held, keeps the lease until work returns, and then gives it back. The context of work ends with ctx and as soon as the
// lease is lost or may be; Hold then returns why. It returns nil when work ended otherwise.
func (k *Keeper) Hold(ctx context.Context, held Held, work func(ctx context.Context)) error {
	within, stop := context.WithCancelCause(ctx)
	var keeping sync.WaitGroup
	keeping.Go(func() { k.keep(within, held, stop) })
	work(within)
	lost := context.Cause(within)
	stop(nil)
	keeping.Wait()
	if err := k.release(ctx, held.Lease); err != nil {
		k.log.Warn("lease not given back, it ends by itself", "lease_epoch", held.Epoch, "error", err)
	}
	if ctx.Err() == nil {
		return lost
	}
	return nil
}

// Confirm asks whether lease is still held, and returns a fault.NotFound error when it is not. It renews the lease on the way.
func (k *Keeper) Confirm(ctx context.Context, lease account.Lease) error {
	ctx, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()
	_, err := k.leases.Renew(ctx, lease, k.terms.TTL)
	return err
}

// keep renews held until ctx ends, and calls stop as soon as the lease is lost or may be. A renewal that hangs holds nothing up.
func (k *Keeper) keep(ctx context.Context, held Held, stop context.CancelCauseFunc) {
	stale := time.AfterFunc(time.Until(held.since.Add(k.terms.StopAfter)), func() { stop(errNotRenewed) })
	defer stale.Stop()
	next := k.terms.RenewEvery
	for pause.For(ctx, next) {
		asked := time.Now()
		err := k.Confirm(ctx, held.Lease)
		switch {
		case err == nil:
			stale.Reset(time.Until(asked.Add(k.terms.StopAfter)))
			next = k.terms.RenewEvery
		case fault.ClassOf(err) == fault.NotFound:
			stop(err)
			return
		case ctx.Err() == nil:
			k.log.Warn("lease not renewed", "lease_epoch", held.Epoch, "error", err)
			next = min(renewAgain, k.terms.RenewEvery)
		}
	}
}

// release lets the next owner begin at once. It changes nothing about a lease that is lost.
func (k *Keeper) release(ctx context.Context, lease account.Lease) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), askWithin)
	defer cancel()
	return k.leases.Release(ctx, lease)
}
