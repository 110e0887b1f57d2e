package polling

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/tgfleet/tgfleet/internal/account"
	"github.com/tgfleet/tgfleet/internal/fault"
	"github.com/tgfleet/tgfleet/internal/seal"
)

const (
	// A lease runs for leaseTTL on the database's clock. Its holder renews it every renewEvery and stops by itself when that has not
	// worked for stopAfter, counted from before the last call that worked: 10 s before anybody else can have it.
	leaseTTL   = 30 * time.Second
	renewEvery = 10 * time.Second
	stopAfter  = 20 * time.Second
	// renewAgain is when a renewal that failed is tried again.
	renewAgain = 2 * time.Second
	// acquireEvery is how often a lease that another poller holds is asked for: how long a bot is left alone after a clean stop.
	acquireEvery = 4 * time.Second
	leaseWithin  = 5 * time.Second
)

var errNotRenewed = errors.New("the lease could not be renewed in time")

// leaseName is what every worker calls the right to poll a bot.
func (b *oneBot) leaseName() string { return "poll:" + b.source.String() }

// heldLease is a lease and when, on our own clock and at the earliest, it began to run.
type heldLease struct {
	account.Lease
	since time.Time
}

func (b *oneBot) acquire(ctx context.Context) (heldLease, bool, error) {
	ctx, cancel := context.WithTimeout(ctx, leaseWithin)
	defer cancel()
	since := time.Now()
	lease, held, err := b.cfg.Leases.Acquire(ctx, b.leaseName(), b.owner, leaseTTL)
	return heldLease{lease, since}, held, err
}

// hold polls under lease until ctx ends or the lease is lost, and then gives the lease back.
func (b *oneBot) hold(ctx context.Context, lease heldLease, token seal.Secret) {
	log := b.log.With("lease_epoch", lease.Epoch)
	log.Info("polling begins")
	held, stop := context.WithCancelCause(ctx)
	var keeping sync.WaitGroup
	keeping.Go(func() { b.keep(held, lease, stop) })
	b.poll(held, token)
	stop(nil)
	keeping.Wait()
	if err := b.release(ctx, lease); err != nil {
		log.Warn("lease not given back, it ends by itself", "error", err)
	}
	if ctx.Err() == nil {
		log.Warn("polling ends: the lease is lost", "error", context.Cause(held))
		return
	}
	log.Info("polling ends")
}

// keep renews lease until ctx ends, and calls stop as soon as the lease is lost or may be. A renewal that hangs holds nothing up.
func (b *oneBot) keep(ctx context.Context, lease heldLease, stop context.CancelCauseFunc) {
	stale := time.AfterFunc(time.Until(lease.since.Add(stopAfter)), func() { stop(errNotRenewed) })
	defer stale.Stop()
	pause := renewEvery
	for wait(ctx, pause) {
		asked := time.Now()
		err := b.renew(ctx, lease.Lease)
		switch {
		case err == nil:
			stale.Reset(time.Until(asked.Add(stopAfter)))
			pause = renewEvery
		case fault.ClassOf(err) == fault.NotFound:
			stop(err)
			return
		case ctx.Err() == nil:
			b.log.Warn("lease not renewed", "error", err)
			pause = renewAgain
		}
	}
}

func (b *oneBot) renew(ctx context.Context, lease account.Lease) error {
	ctx, cancel := context.WithTimeout(ctx, leaseWithin)
	defer cancel()
	_, err := b.cfg.Leases.Renew(ctx, lease, leaseTTL)
	return err
}

// release lets the next poller begin at once. It changes nothing about a lease that is lost.
func (b *oneBot) release(ctx context.Context, lease heldLease) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaseWithin)
	defer cancel()
	return b.cfg.Leases.Release(ctx, lease.Lease)
}
