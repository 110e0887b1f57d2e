package storetest

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/tgfleet/tgfleet/internal/account"
	"github.com/tgfleet/tgfleet/internal/fault"
	"github.com/tgfleet/tgfleet/internal/store"
)

// Leases checks the repository of the leases.
func Leases(t *testing.T, open Open) {
	behaviours{
		"a held lease is refused to others and renewed for its owner": leaseIsHeld,
		"leases of different names are independent":                   leasesAreIndependent,
		"an expired lease goes to the next owner in a new epoch":      leaseExpires,
		"an expired lease is not renewed, even while nobody took it":  leaseIsLostOnTime,
		"a released lease is free at once, in a new epoch":            leaseIsReleased,
		"an older epoch neither renews nor releases":                  leaseFencesOldEpochs,
		"an owner needs a name":                                       leaseNeedsOwner,
		"there are never two holders at once":                         leaseExcludes,
		"every epoch has one owner and none is left out":              leaseEpochsGrow,
	}.check(t, open)
}

func acquire(t *testing.T, l *store.Leases, name, owner string, ttl time.Duration) account.Lease {
	t.Helper()
	lease, ok, err := l.Acquire(t.Context(), name, owner, ttl)
	require.NoError(t, err)
	require.True(t, ok, "%s gets %s", owner, name)
	require.Equal(t, name, lease.Name)
	require.Equal(t, owner, lease.Owner)
	return lease
}

func requireHeld(t *testing.T, l *store.Leases, name, by string) {
	t.Helper()
	lease, ok, err := l.Acquire(t.Context(), name, "somebody else", late)
	require.NoError(t, err)
	require.False(t, ok, "%s still holds %s", by, name)
	require.Zero(t, lease)
}

func leaseIsHeld(t *testing.T, db *store.DB) {
	l := db.Leases()
	first := acquire(t, l, "poll", "a", late)
	require.EqualValues(t, 1, first.Epoch)
	requireHeld(t, l, "poll", "a")

	again := acquire(t, l, "poll", "a", 2*late)
	require.Equal(t, first.Epoch, again.Epoch)
	require.Greater(t, again.ExpiresAt.Sub(first.ExpiresAt), late/2)

	renewed, err := l.Renew(t.Context(), again, 3*late)
	require.NoError(t, err)
	require.Equal(t, again.Epoch, renewed.Epoch)
	require.Equal(t, "poll", renewed.Name)
	require.Equal(t, "a", renewed.Owner)
	require.Greater(t, renewed.ExpiresAt.Sub(again.ExpiresAt), late/2)
	requireHeld(t, l, "poll", "a")
}

func leasesAreIndependent(t *testing.T, db *store.DB) {
	l := db.Leases()
	first := acquire(t, l, "one", "a", late)
	second := acquire(t, l, "two", "b", late)
	require.EqualValues(t, 1, second.Epoch)
	require.NoError(t, l.Release(t.Context(), second))
	_, err := l.Renew(t.Context(), first, late)
	require.NoError(t, err)
}

// acquireLater waits until owner gets the lease that somebody else lets expire.
func acquireLater(t *testing.T, l *store.Leases, name, owner string) (lease account.Lease) {
	t.Helper()
	eventually(t, func() bool {
		var ok bool
		var err error
		lease, ok, err = l.Acquire(t.Context(), name, owner, late)
		return err == nil && ok
	}, "the lease expires")
	return lease
}

func leaseExpires(t *testing.T, db *store.DB) {
	l := db.Leases()
	first := acquire(t, l, "poll", "a", soon)
	second := acquireLater(t, l, "poll", "b")
	require.Equal(t, first.Epoch+1, second.Epoch)
	_, ok, err := l.Acquire(t.Context(), "poll", "a", late)
	require.NoError(t, err)
	require.False(t, ok)
}

func leaseIsLostOnTime(t *testing.T, db *store.DB) {
	l := db.Leases()
	lease := acquire(t, l, "poll", "a", late)
	lease, err := l.Renew(t.Context(), lease, time.Millisecond)
	require.NoError(t, err)
	eventually(t, func() bool {
		// Looking must not lengthen what it looks at.
		_, err = l.Renew(t.Context(), lease, time.Millisecond)
		return err != nil
	}, "the lease expires")
	require.Equal(t, fault.NotFound, fault.ClassOf(err))
	require.ErrorContains(t, err, "poll")

	again := acquire(t, l, "poll", "a", late)
	require.Equal(t, lease.Epoch, again.Epoch, "nobody held it in between")
}

func leaseIsReleased(t *testing.T, db *store.DB) {
	l := db.Leases()
	first := acquire(t, l, "poll", "a", late)
	require.NoError(t, l.Release(t.Context(), first))
	_, err := l.Renew(t.Context(), first, late)
	require.Equal(t, fault.NotFound, fault.ClassOf(err))

	second := acquire(t, l, "poll", "b", late)
	require.Equal(t, first.Epoch+1, second.Epoch)
	require.NoError(t, l.Release(t.Context(), second))
	require.NoError(t, l.Release(t.Context(), second), "releasing again changes nothing")
	third := acquire(t, l, "poll", "b", late)
	require.Equal(t, second.Epoch+1, third.Epoch, "after a release even the same owner starts an epoch")
}

func leaseFencesOldEpochs(t *testing.T, db *store.DB) {
	l := db.Leases()
	stale := acquire(t, l, "poll", "a", late)
	require.NoError(t, l.Release(t.Context(), stale))
	current := acquire(t, l, "poll", "a", late)
	require.Greater(t, current.Epoch, stale.Epoch)

	_, err := l.Renew(t.Context(), stale, 9*late)
	require.Equal(t, fault.NotFound, fault.ClassOf(err))
	require.NoError(t, l.Release(t.Context(), stale))
	stranger := current
	stranger.Owner = "b"
	_, err = l.Renew(t.Context(), stranger, 9*late)
	require.Equal(t, fault.NotFound, fault.ClassOf(err))
	require.NoError(t, l.Release(t.Context(), stranger))

	requireHeld(t, l, "poll", "a")
	renewed, err := l.Renew(t.Context(), current, late)
	require.NoError(t, err)
	require.Less(t, renewed.ExpiresAt.Sub(current.ExpiresAt), late)
}

func leaseNeedsOwner(t *testing.T, db *store.DB) {
	_, _, err := db.Leases().Acquire(t.Context(), "poll", "", late)
	require.Equal(t, fault.Permanent, fault.ClassOf(err))
}

// contend lets owners compete until turns turns have been taken.
func contend(t *testing.T, owners, turns int, turn func(ctx context.Context, owner string) (taken bool, err error)) {
	t.Helper()
	var count atomic.Int64
	group, ctx := errgroup.WithContext(t.Context())
	for i := range owners {
		owner := fmt.Sprintf("owner-%d", i)
		group.Go(func() error {
			for count.Load() < int64(turns) {
				taken, err := turn(ctx, owner)
				if err != nil {
					return err
				}
				if taken {
					count.Add(1)
				}
			}
			return nil
		})
	}
	require.NoError(t, group.Wait())
}

func leaseExcludes(t *testing.T, db *store.DB) {
	l := db.Leases()
	var holders atomic.Int64
	var lastEpoch int64 // written and read by the holder alone: the race detector sees when there are two
	contend(t, 8, 60, func(ctx context.Context, owner string) (bool, error) {
		lease, ok, err := l.Acquire(ctx, "poll", owner, late)
		if err != nil || !ok {
			return false, err
		}
		if now := holders.Add(1); now != 1 {
			return false, fmt.Errorf("%d holders at once", now)
		}
		if lease.Epoch <= lastEpoch {
			return false, fmt.Errorf("epoch %d after %d", lease.Epoch, lastEpoch)
		}
		lastEpoch = lease.Epoch
		if _, err := l.Renew(ctx, lease, late); err != nil {
			return false, err
		}
		holders.Add(-1)
		return true, l.Release(ctx, lease)
	})
}

func leaseEpochsGrow(t *testing.T, db *store.DB) {
	l := db.Leases()
	var mu sync.Mutex
	owners := map[int64]string{}
	var last int64
	contend(t, 8, 40, func(ctx context.Context, owner string) (bool, error) {
		lease, ok, err := l.Acquire(ctx, "poll", owner, 2*time.Millisecond)
		if err != nil || !ok {
			return false, err
		}
		mu.Lock()
		defer mu.Unlock()
		if other, taken := owners[lease.Epoch]; taken {
			if other != owner {
				return false, fmt.Errorf("epoch %d was given to %s and to %s", lease.Epoch, other, owner)
			}
			return false, nil
		}
		owners[lease.Epoch] = owner
		last = max(last, lease.Epoch)
		return true, nil
	})
	require.EqualValues(t, len(owners), last, "epochs grow by one")
}
