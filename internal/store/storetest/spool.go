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
		"a hold can be made longer, and never shorter":     spoolHoldsOn,
		"a failure is counted and brings the batch back":   spoolCountsFailures,
		"a failure of a batch that is gone is not found":   spoolCountsNothing,
		"a claim that ended without a word was a crash":    spoolCountsCrashes,
		"what was marked then is blamed":                   spoolBlames,
		"a mark holds its batch":                           spoolMarkHolds,
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

func spoolHoldsOn(t *testing.T, db *store.DB) {
	s := db.Spool()
	for range 3 {
		put(t, s, ingest.Spooled{})
	}
	held, postponed, free := claim(t, s, 1, soon), claim(t, s, 1, late), claim(t, s, 1, soon)
	require.NoError(t, s.Postpone(t.Context(), postponed[0].ID, soon))
	require.NoError(t, s.Hold(t.Context(), []int64{held[0].ID, postponed[0].ID, 999}, late))
	require.NoError(t, s.Hold(t.Context(), []int64{held[0].ID}, soon), "it is held for longer")
	var back []int64
	eventually(t, func() bool {
		back = append(back, idsOf(claim(t, s, 10, late))...)
		return len(back) >= 2
	}, "the others come back")
	require.ElementsMatch(t, []int64{postponed[0].ID, free[0].ID}, back)
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

// claimAgain claims the one batch of the spool once its hold has ended.
func claimAgain(t *testing.T, s *store.Spool, hold time.Duration) (batch ingest.Spooled) {
	t.Helper()
	eventually(t, func() bool {
		claimed := claim(t, s, 1, hold)
		if len(claimed) == 1 {
			batch = claimed[0]
		}
		return len(claimed) == 1
	}, "the batch is claimed again")
	return batch
}

func spoolCountsCrashes(t *testing.T, db *store.DB) {
	s := db.Spool()
	id := put(t, s, ingest.Spooled{})
	require.Zero(t, claimAgain(t, s, soon).Crashes, "nobody had it before")
	require.Equal(t, 1, claimAgain(t, s, soon).Crashes)

	_, err := s.CountFailure(t.Context(), id)
	require.NoError(t, err)
	require.NoError(t, s.Postpone(t.Context(), id, 0))
	require.Equal(t, 1, claimAgain(t, s, soon).Crashes, "the claim before ended in good order")
	require.Equal(t, 2, claimAgain(t, s, late).Crashes)

	_, err = s.Release(t.Context())
	require.NoError(t, err)
	last := claimAgain(t, s, late)
	require.Equal(t, 3, last.Crashes, "a release is for what dead processes left")
	require.Empty(t, last.Blamed, "nothing was marked")
}

func spoolBlames(t *testing.T, db *store.DB) {
	s := db.Spool()
	put(t, s, ingest.Spooled{})
	first := claimAgain(t, s, late)
	require.NoError(t, s.Mark(t.Context(), first, -1, soon))
	second := claimAgain(t, s, late)
	require.Equal(t, []int{-1}, second.Blamed)

	require.NoError(t, s.Mark(t.Context(), second, 6, late))
	require.NoError(t, s.Mark(t.Context(), second, 63, soon))
	third := claimAgain(t, s, late)
	require.Equal(t, []int{-1, 63}, third.Blamed, "the last mark counts")

	err := s.Mark(t.Context(), second, 7, soon)
	require.Equal(t, fault.NotFound, fault.ClassOf(err), "the claim has passed on")
	require.NoError(t, s.Mark(t.Context(), third, 63, late))
	require.NoError(t, s.Unmark(t.Context(), second), "it takes off no mark but its own")
	require.NoError(t, s.Mark(t.Context(), third, 63, soon))
	fourth := claimAgain(t, s, late)
	require.Equal(t, []int{-1, 63, 63}, fourth.Blamed)

	require.NoError(t, s.Mark(t.Context(), fourth, 5, soon))
	require.NoError(t, s.Unmark(t.Context(), fourth))
	fifth := claimAgain(t, s, late)
	require.Equal(t, fourth.Blamed, fifth.Blamed, "its worker was done with it")
	require.NoError(t, s.Mark(t.Context(), fifth, 5, late))
	require.NoError(t, s.Postpone(t.Context(), fifth.ID, 0))
	sixth := claimAgain(t, s, late)
	require.Equal(t, fifth.Blamed, sixth.Blamed, "its worker gave it back")
	require.Equal(t, fifth.Crashes, sixth.Crashes)
	require.Equal(t, fault.NotFound, fault.ClassOf(s.Mark(t.Context(), ingest.Spooled{ID: 4711}, 1, late)))
}

func spoolMarkHolds(t *testing.T, db *store.DB) {
	s := db.Spool()
	put(t, s, ingest.Spooled{})
	row := claimAgain(t, s, soon)
	require.NoError(t, s.Mark(t.Context(), row, 0, late))
	never := time.Now().Add(2 * soon)
	eventually(t, func() bool {
		require.Empty(t, claim(t, s, 1, late))
		return time.Now().After(never)
	}, "the time of the claim's own hold")
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
