package storetest

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/tgfleet/tgfleet/internal/fault"
	"github.com/tgfleet/tgfleet/internal/ingest"
	"github.com/tgfleet/tgfleet/internal/store"
)

// Spool checks the repository of the batches that wait in the database.
func Spool(t *testing.T, open Open) {
	behaviours{
		"a batch comes back as it was put":                 spoolKeepsBatches,
		"a put whose caller has gone is an error":          spoolRefusesTheGone,
		"a batch waits until it is due":                    spoolWaitsUntilDue,
		"what has been due longest is claimed first":       spoolClaimsOldestFirst,
		"claimers never share a batch within the hold":     spoolClaimsOnce,
		"a batch comes back when its claimer's hold ends":  spoolHoldEnds,
		"a failure is counted and brings the batch back":   spoolCountsFailures,
		"a failure of a batch that is gone is not found":   spoolCountsNothing,
		"release makes every batch due, claimed or not":    spoolReleases,
		"the backlog is all updates and the oldest's time": spoolBacklog,
	}.check(t, open)
}

// received is a time of receipt, in the precision that databases keep.
var received = time.Date(2026, 3, 1, 12, 0, 0, 123456000, time.UTC)

func put(t *testing.T, s *store.Spool, batch ingest.Spooled) int64 {
	t.Helper()
	if batch.Payload == nil {
		batch.Payload = []byte("payload")
	}
	if batch.Updates == 0 {
		batch.Updates = 1
	}
	if batch.OldestAt.IsZero() {
		batch.OldestAt = received
	}
	id, err := s.Put(t.Context(), batch)
	require.NoError(t, err)
	return id
}

func claim(t *testing.T, s *store.Spool, limit int, hold time.Duration) []ingest.Spooled {
	t.Helper()
	batches, err := s.Claim(t.Context(), limit, hold)
	require.NoError(t, err)
	return batches
}

func idsOf(batches []ingest.Spooled) []int64 {
	ids := make([]int64, len(batches))
	for i := range batches {
		ids[i] = batches[i].ID
	}
	return ids
}

func spoolKeepsBatches(t *testing.T, db *store.DB) {
	s := db.Spool()
	moscow := time.FixedZone("MSK", 3*60*60)
	first := ingest.Spooled{Payload: []byte("\x00\xff'\\x00"), Updates: 64, OldestAt: received.In(moscow), Attempts: 7, ID: 99}
	second := ingest.Spooled{Payload: []byte("second"), Updates: 1, OldestAt: received.Add(time.Second)}
	first.ID, second.ID = put(t, s, first), put(t, s, second)
	require.Greater(t, second.ID, first.ID)
	first.Attempts, first.OldestAt = 0, received

	claimed := claim(t, s, 10, late)
	require.Len(t, claimed, 2)
	for i := range claimed {
		require.False(t, claimed[i].DueAt.IsZero())
		require.Equal(t, time.UTC, claimed[i].DueAt.Location())
		claimed[i].DueAt = time.Time{}
	}
	require.Equal(t, []ingest.Spooled{first, second}, claimed)
}

func spoolRefusesTheGone(t *testing.T, db *store.DB) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := db.Spool().Put(ctx, ingest.Spooled{Payload: []byte("payload"), Updates: 1, OldestAt: received})
	require.ErrorIs(t, err, context.Canceled)
	require.Equal(t, fault.Transient, fault.ClassOf(err))
	require.Empty(t, claim(t, db.Spool(), 10, late))
}

func spoolWaitsUntilDue(t *testing.T, db *store.DB) {
	s := db.Spool()
	put(t, s, ingest.Spooled{DueAt: time.Now().Add(late)})
	due := put(t, s, ingest.Spooled{DueAt: time.Now().Add(-late)})
	require.Equal(t, []int64{due}, idsOf(claim(t, s, 10, late)))

	later := put(t, s, ingest.Spooled{DueAt: time.Now().Add(soon)})
	eventually(t, func() bool { return slices.Equal([]int64{later}, idsOf(claim(t, s, 10, late))) }, "the batch falls due")
}

func spoolClaimsOldestFirst(t *testing.T, db *store.DB) {
	s := db.Spool()
	var ids []int64
	for _, ago := range []time.Duration{late, 4 * late, 2 * late, 3 * late} {
		ids = append(ids, put(t, s, ingest.Spooled{DueAt: time.Now().Add(-ago)}))
	}
	require.Equal(t, []int64{ids[1]}, idsOf(claim(t, s, 1, late)))
	require.Equal(t, []int64{ids[2], ids[3]}, idsOf(claim(t, s, 2, late)))
	require.Equal(t, []int64{ids[0]}, idsOf(claim(t, s, 2, late)))
	require.Empty(t, claim(t, s, 2, late))
}

func spoolClaimsOnce(t *testing.T, db *store.DB) {
	s := db.Spool()
	const batches, claimers = 150, 8
	for range batches {
		put(t, s, ingest.Spooled{})
	}
	var mu sync.Mutex
	claims := map[int64]int{}
	group, ctx := errgroup.WithContext(t.Context())
	for range claimers {
		group.Go(func() error {
			for {
				claimed, err := s.Claim(ctx, 7, late)
				if err != nil || len(claimed) == 0 {
					return err
				}
				if len(claimed) > 7 {
					return errors.New("more batches than asked for")
				}
				mu.Lock()
				for _, id := range idsOf(claimed) {
					claims[id]++
				}
				mu.Unlock()
			}
		})
	}
	require.NoError(t, group.Wait())
	require.Len(t, claims, batches)
	for id, times := range claims {
		require.Equal(t, 1, times, "batch %d", id)
	}
}

func spoolHoldEnds(t *testing.T, db *store.DB) {
	s := db.Spool()
	id := put(t, s, ingest.Spooled{})
	require.Equal(t, []int64{id}, idsOf(claim(t, s, 10, soon)))
	eventually(t, func() bool { return slices.Equal([]int64{id}, idsOf(claim(t, s, 10, late))) }, "the hold ends")
	require.Empty(t, claim(t, s, 10, late), "the hold lasts")
}

func spoolCountsFailures(t *testing.T, db *store.DB) {
	s := db.Spool()
	id, other := put(t, s, ingest.Spooled{}), put(t, s, ingest.Spooled{})
	require.Len(t, claim(t, s, 10, late), 2)

	attempts, err := s.CountFailure(t.Context(), id)
	require.NoError(t, err)
	require.Equal(t, 1, attempts)
	attempts, err = s.CountFailure(t.Context(), id)
	require.NoError(t, err)
	require.Equal(t, 2, attempts)
	require.Empty(t, claim(t, s, 10, late), "counting moves no hold")

	require.NoError(t, s.Postpone(t.Context(), id, 0))
	var again []ingest.Spooled
	eventually(t, func() bool { again = claim(t, s, 10, late); return len(again) > 0 }, "a postponed batch comes back before its hold ends")
	require.Equal(t, []int64{id}, idsOf(again), "batch %d was not postponed", other)
	require.Equal(t, 2, again[0].Attempts)

	require.NoError(t, s.Postpone(t.Context(), id, time.Hour))
	require.Empty(t, claim(t, s, 10, late))
	require.NoError(t, s.Postpone(t.Context(), 4711, 0), "a batch that was settled meanwhile is no error")
}

func spoolCountsNothing(t *testing.T, db *store.DB) {
	_, err := db.Spool().CountFailure(t.Context(), 4711)
	require.Equal(t, fault.NotFound, fault.ClassOf(err))
	require.ErrorContains(t, err, "4711")
}

func spoolReleases(t *testing.T, db *store.DB) {
	s := db.Spool()
	released, err := s.Release(t.Context())
	require.NoError(t, err)
	require.Zero(t, released)

	ids := []int64{put(t, s, ingest.Spooled{}), put(t, s, ingest.Spooled{DueAt: time.Now().Add(late)}), put(t, s, ingest.Spooled{})}
	require.Len(t, claim(t, s, 1, late), 1)
	released, err = s.Release(t.Context())
	require.NoError(t, err)
	require.Equal(t, 3, released)
	require.Equal(t, ids, idsOf(claim(t, s, 10, late)))
}

func spoolBacklog(t *testing.T, db *store.DB) {
	s := db.Spool()
	updates, oldest, err := s.Backlog(t.Context())
	require.NoError(t, err)
	require.Zero(t, updates)
	require.True(t, oldest.IsZero())

	put(t, s, ingest.Spooled{Updates: 64, OldestAt: received.Add(time.Minute)})
	put(t, s, ingest.Spooled{Updates: 3, OldestAt: received, DueAt: time.Now().Add(late)})
	require.Len(t, claim(t, s, 1, late), 1)
	updates, oldest, err = s.Backlog(t.Context())
	require.NoError(t, err)
	require.Equal(t, 67, updates)
	require.Equal(t, received, oldest)
}
