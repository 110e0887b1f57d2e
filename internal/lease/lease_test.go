package lease_test

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/tgfleet/tgfleet/internal/account"
	"github.com/tgfleet/tgfleet/internal/fault"
	"github.com/tgfleet/tgfleet/internal/lease"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var terms = lease.Terms{TTL: 90 * time.Second, RenewEvery: 10 * time.Second, StopAfter: 20 * time.Second}

// database keeps one lease, on the clock of the test's bubble, as the real one does; it can be away, and silent.
type database struct {
	mu       sync.Mutex
	lease    account.Lease
	away     error
	silent   bool
	released int
}

func (d *database) Acquire(_ context.Context, name, owner string, ttl time.Duration) (account.Lease, bool, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.lease.Owner != "" && d.lease.Owner != owner && d.lease.ExpiresAt.After(time.Now()) {
		return account.Lease{}, false, nil
	}
	if d.lease.Owner != owner {
		d.lease.Epoch++
	}
	d.lease.Name, d.lease.Owner, d.lease.ExpiresAt = name, owner, time.Now().Add(ttl)
	return d.lease, true, nil
}

func (d *database) Renew(ctx context.Context, l account.Lease, ttl time.Duration) (account.Lease, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.silent {
		d.mu.Unlock()
		<-ctx.Done()
		d.mu.Lock()
		return account.Lease{}, ctx.Err()
	}
	if d.away != nil {
		return account.Lease{}, d.away
	}
	if d.lease.Owner != l.Owner || d.lease.Epoch != l.Epoch || !d.lease.ExpiresAt.After(time.Now()) {
		return account.Lease{}, fault.As(fault.NotFound, errors.New("lost"))
	}
	d.lease.ExpiresAt = time.Now().Add(ttl)
	return d.lease, nil
}

func (d *database) Release(_ context.Context, l account.Lease) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.released++
	if d.lease.Owner == l.Owner && d.lease.Epoch == l.Epoch {
		d.lease.Owner = ""
	}
	return nil
}

func (d *database) set(change func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	change()
}

func keeper(d *database, owner string) *lease.Keeper {
	return lease.NewKeeper(d, owner, terms, slog.New(slog.DiscardHandler))
}

func take(t *testing.T, k *lease.Keeper) lease.Held {
	t.Helper()
	held, taken, err := k.Take(t.Context(), "work")
	require.NoError(t, err)
	require.True(t, taken)
	return held
}

// untilEnded works until the lease ends it, and tells how long that took.
func untilEnded(took *time.Duration) func(context.Context) {
	begun := time.Now()
	return func(ctx context.Context) {
		<-ctx.Done()
		*took = time.Since(begun)
	}
}

func TestHolderWorksOnWhileItsLeaseIsRenewed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := &database{}
		k := keeper(d, "one")
		held := take(t, k)
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		var took time.Duration
		require.NoError(t, k.Hold(ctx, held, untilEnded(&took)))
		require.Equal(t, time.Hour, took)
		_, taken, err := keeper(d, "two").Take(t.Context(), "work")
		require.NoError(t, err)
		require.True(t, taken, "the lease was given back")
	})
}

func TestHolderStopsWellBeforeAnybodyElseCanHoldTheLease(t *testing.T) {
	t.Parallel()
	for name, fail := range map[string]func(*database){
		"the database refuses": func(d *database) { d.away = errors.New("away") },
		"the database hangs":   func(d *database) { d.silent = true },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				d := &database{}
				k := keeper(d, "one")
				held := take(t, k)
				d.set(func() { fail(d) })
				var took time.Duration
				require.Error(t, k.Hold(t.Context(), held, untilEnded(&took)))
				require.Equal(t, terms.StopAfter, took)
			})
		})
	}
}

func TestHolderStopsAsSoonAsItsLeaseIsSomebodyElses(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := &database{}
		k := keeper(d, "one")
		held := take(t, k)
		d.set(func() { d.lease.Owner, d.lease.Epoch = "two", d.lease.Epoch+1 })
		var took time.Duration
		lost := k.Hold(t.Context(), held, untilEnded(&took))
		require.Equal(t, fault.NotFound, fault.ClassOf(lost))
		require.Equal(t, terms.RenewEvery, took)
		require.Equal(t, "two", d.lease.Owner, "what is somebody else's is not given back")
	})
}

func TestLeaseIsGivenBackOnlyAfterTheWorkHasEnded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := &database{}
		k := keeper(d, "one")
		held := take(t, k)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.NoError(t, k.Hold(ctx, held, func(ctx context.Context) {
			<-ctx.Done()
			slow := time.NewTimer(7 * time.Second)
			<-slow.C
			require.Zero(t, d.released)
		}))
		require.Equal(t, 1, d.released)
	})
}

func TestConfirmTellsAHolderThatWasAsleep(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := &database{}
		k := keeper(d, "one")
		held := take(t, k)
		require.NoError(t, k.Confirm(t.Context(), held.Lease))
		asleep := time.NewTimer(terms.TTL)
		<-asleep.C
		require.Equal(t, fault.NotFound, fault.ClassOf(k.Confirm(t.Context(), held.Lease)))
	})
}
