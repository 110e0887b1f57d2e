package storetest

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/tgfleet/tgfleet/internal/account"
	"github.com/tgfleet/tgfleet/internal/content"
	"github.com/tgfleet/tgfleet/internal/fault"
	"github.com/tgfleet/tgfleet/internal/store"
)

// Backfills checks the repositories of backfills, of the holes that they fill, and of flood waits.
func Backfills(t *testing.T, open Open) {
	behaviours{
		"a backfill goes on from where it was":                      backfillGoesOn,
		"a chat is read once at a time for whoever asks":            backfillIsAlone,
		"a cancelled backfill is not advanced any more":             backfillIsCancelled,
		"whoever lost the lease advances and plans nothing":         backfillIsFenced,
		"backfills that fill holes come first, the newest hole too": backfillsHaveTheirOrder,
		"a hole is planned once":                                    holeIsPlannedOnce,
		"a hole is filled when all that fill it are done":           holeIsFilled,
		"a hole is given up when one of those that fill it is":      holeIsGivenUp,
		"a hole is closed by those who end its last ones at once":   holeIsClosedTogether,
		"a hole that nothing can fill is closed at once":            holeIsClosed,
		"flood waits are kept for the next holder":                  floodWaitsAreKept,
		"backfills and holes go back with a rewind":                 backfillIsRewound,
		"a removed connector's backfills and waits go with it":      backfillsAreRemoved,
	}.check(t, open)
}

const harbour content.ChatID = -1000000000005

func start(t *testing.T, db *store.DB, connectorID string, chat content.ChatID) account.Backfill {
	t.Helper()
	b, err := db.Backfills().Start(t.Context(), account.Backfill{ConnectorID: connectorID, ChatID: chat})
	require.NoError(t, err)
	return b
}

func backfill(t *testing.T, db *store.DB, id int64) account.Backfill {
	t.Helper()
	b, err := db.Backfills().Find(t.Context(), id)
	require.NoError(t, err)
	return b
}

func due(t *testing.T, db *store.DB, connectorID string) (chats []content.ChatID) {
	t.Helper()
	backfills, err := db.Backfills().Due(t.Context(), connectorID)
	require.NoError(t, err)
	for i := range backfills {
		chats = append(chats, backfills[i].ChatID)
	}
	return chats
}

// hole has the archive find a hole of that account, and returns it.
func hole(t *testing.T, db *store.DB, accountID int64, chat content.ChatID, fromPts int) account.Hole {
	t.Helper()
	change := words(int64(fromPts), person, chat, "behind the hole", "")
	change.Holes = []content.Hole{{
		AccountID: accountID, ChatID: chat, Reason: content.ChannelDifferenceTooLong, FromPts: fromPts, ToPts: fromPts + 100, BelowMessageID: 90,
		FoundAt: sent,
	}}
	_, err := db.Archive().Apply(t.Context(), content.Batch{Changes: []content.ChangeSet{change}})
	require.NoError(t, err)
	holes, err := db.Backfills().Holes(t.Context())
	require.NoError(t, err)
	require.Equal(t, fromPts, holes[0].FromPts)
	require.Equal(t, account.HoleOpen, holes[0].Status)
	return holes[0]
}

func plan(t *testing.T, db *store.DB, lease account.Lease, h account.Hole, chats ...content.ChatID) {
	t.Helper()
	var fills []account.Backfill
	for _, chat := range chats {
		fills = append(fills, account.Backfill{ConnectorID: strings.TrimPrefix(lease.Name, "connector:"), ChatID: chat, Begin: 90, Floor: 10})
	}
	require.NoError(t, db.Backfills().Plan(t.Context(), lease, h, account.HoleFilled, fills))
}

func statusOf(t *testing.T, db *store.DB, h account.Hole) account.HoleStatus {
	t.Helper()
	holes, err := db.Backfills().Holes(t.Context())
	require.NoError(t, err)
	for i := range holes {
		if holes[i].ID == h.ID {
			return holes[i].Status
		}
	}
	t.Fatal("the hole is not there")
	return ""
}

func backfillGoesOn(t *testing.T, db *store.DB) {
	c, lease := held(t, db, "desk")
	since := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	begun, err := db.Backfills().Start(t.Context(), account.Backfill{
		ConnectorID: c.ID, ChatID: harbour, Takeout: true, Since: since, Begin: 500, Floor: 7,
	})
	require.NoError(t, err)
	require.Equal(t, account.BackfillWaiting, begun.Status)
	require.NotZero(t, begun.CreatedAt)
	require.Equal(t, begun, backfill(t, db, begun.ID))

	now := begun
	now.Top, now.Cursor, now.Total, now.Messages, now.Pages = 499, 400, 480, 100, 1
	require.NoError(t, db.Backfills().Advance(t.Context(), lease, now))
	got := backfill(t, db, begun.ID)
	require.NotZero(t, got.StartedAt)
	now.Status, now.StartedAt = account.BackfillRunning, got.StartedAt
	require.Equal(t, now, got)

	now.Cursor, now.Messages, now.Pages, now.Status = 8, 480, 5, account.BackfillDone
	require.NoError(t, db.Backfills().Advance(t.Context(), lease, now))
	got = backfill(t, db, begun.ID)
	require.NotZero(t, got.EndedAt)
	now.EndedAt = got.EndedAt
	require.Equal(t, now, got)
	require.Empty(t, due(t, db, c.ID))
	requireClass(t, fault.Permanent, db.Backfills().Advance(t.Context(), lease, now))
	_, err = db.Backfills().Find(t.Context(), begun.ID+1)
	requireClass(t, fault.NotFound, err)
}

func backfillIsAlone(t *testing.T, db *store.DB) {
	c, lease := held(t, db, "desk")
	other, _ := held(t, db, "other")
	first := start(t, db, c.ID, harbour)
	_, err := db.Backfills().Start(t.Context(), account.Backfill{ConnectorID: c.ID, ChatID: harbour})
	requireClass(t, fault.Permanent, err)
	start(t, db, c.ID, harbour-1)
	start(t, db, other.ID, harbour)
	first.Status = account.BackfillDone
	require.NoError(t, db.Backfills().Advance(t.Context(), lease, first))
	start(t, db, c.ID, harbour)
}

func backfillIsCancelled(t *testing.T, db *store.DB) {
	c, lease := held(t, db, "desk")
	b := start(t, db, c.ID, harbour)
	require.NoError(t, db.Backfills().Cancel(t.Context(), b.ID))
	requireClass(t, fault.Permanent, db.Backfills().Cancel(t.Context(), b.ID))
	requireClass(t, fault.Permanent, db.Backfills().Advance(t.Context(), lease, b))
	require.Equal(t, account.BackfillCancelled, backfill(t, db, b.ID).Status)
	require.Empty(t, due(t, db, c.ID))
}

func backfillIsFenced(t *testing.T, db *store.DB) {
	c, lease := held(t, db, "desk")
	b := start(t, db, c.ID, harbour)
	h := hole(t, db, 7, harbour, 100)
	next := taken(t, db, lease)
	requireClass(t, fault.NotFound, db.Backfills().Advance(t.Context(), lease, b))
	requireClass(t, fault.NotFound, db.Backfills().Plan(t.Context(), lease, h, account.HoleFilled, nil))
	requireClass(t, fault.NotFound, db.FloodWaits().Save(t.Context(), lease, c.ID, "m", sent))
	require.Equal(t, account.HoleOpen, statusOf(t, db, h))
	require.NoError(t, db.Backfills().Advance(t.Context(), next, b))
}

func backfillsHaveTheirOrder(t *testing.T, db *store.DB) {
	c, lease := held(t, db, "desk")
	start(t, db, c.ID, 1)
	start(t, db, c.ID, 2)
	older := hole(t, db, 7, 3, 100)
	newer := hole(t, db, 7, 4, 200)
	plan(t, db, lease, older, 3)
	plan(t, db, lease, newer, 4, 5)
	require.Equal(t, []content.ChatID{4, 5, 3, 1, 2}, due(t, db, c.ID))
	list, err := db.Backfills().List(t.Context())
	require.NoError(t, err)
	require.Len(t, list, 5)
	require.Equal(t, newer.ID, list[0].HoleID)
}

func holeIsPlannedOnce(t *testing.T, db *store.DB) {
	c, lease := held(t, db, "desk")
	h := hole(t, db, 7, harbour, 100)
	unplanned, err := db.Backfills().Unplanned(t.Context(), 7)
	require.NoError(t, err)
	require.Equal(t, []account.Hole{h}, unplanned)
	others, err := db.Backfills().Unplanned(t.Context(), 8)
	require.NoError(t, err)
	require.Empty(t, others)
	plan(t, db, lease, h, harbour)
	plan(t, db, lease, h, harbour)
	require.Len(t, due(t, db, c.ID), 1)
	unplanned, err = db.Backfills().Unplanned(t.Context(), 7)
	require.NoError(t, err)
	require.Empty(t, unplanned)
}

func holeIsFilled(t *testing.T, db *store.DB) {
	c, lease := held(t, db, "desk")
	h := hole(t, db, 7, harbour, 100)
	plan(t, db, lease, h, 1, 2)
	backfills, err := db.Backfills().Due(t.Context(), c.ID)
	require.NoError(t, err)
	for i, b := range backfills {
		open, err := db.Backfills().OpenHoles(t.Context())
		require.NoError(t, err)
		require.EqualValues(t, 1, open, "%d are done", i)
		b.Status = account.BackfillDone
		require.NoError(t, db.Backfills().Advance(t.Context(), lease, b))
	}
	require.Equal(t, account.HoleFilled, statusOf(t, db, h))
	open, err := db.Backfills().OpenHoles(t.Context())
	require.NoError(t, err)
	require.Zero(t, open)
}

func holeIsGivenUp(t *testing.T, db *store.DB) {
	c, lease := held(t, db, "desk")
	h := hole(t, db, 7, harbour, 100)
	plan(t, db, lease, h, 1, 2)
	backfills, err := db.Backfills().Due(t.Context(), c.ID)
	require.NoError(t, err)
	failed := backfills[0]
	failed.Status, failed.Reason = account.BackfillFailed, "CHANNEL_PRIVATE"
	require.NoError(t, db.Backfills().Advance(t.Context(), lease, failed))
	require.Equal(t, "CHANNEL_PRIVATE", backfill(t, db, failed.ID).Reason)
	require.Equal(t, account.HoleOpen, statusOf(t, db, h))
	require.NoError(t, db.Backfills().Cancel(t.Context(), backfills[1].ID))
	require.Equal(t, account.HoleGivenUp, statusOf(t, db, h))
}

func holeIsClosedTogether(t *testing.T, db *store.DB) {
	c, lease := held(t, db, "desk")
	for i := range 60 {
		h := hole(t, db, 7, harbour, 100+i)
		plan(t, db, lease, h, 1, 2, 3, 4)
		backfills, err := db.Backfills().Due(t.Context(), c.ID)
		require.NoError(t, err)
		require.Len(t, backfills, 4)
		var group errgroup.Group
		for _, b := range backfills {
			group.Go(func() error { return db.Backfills().Cancel(t.Context(), b.ID) })
		}
		require.NoError(t, group.Wait())
		require.Equal(t, account.HoleGivenUp, statusOf(t, db, h))
	}
}

func holeIsClosed(t *testing.T, db *store.DB) {
	_, lease := held(t, db, "desk")
	h := hole(t, db, 7, harbour, 100)
	require.NoError(t, db.Backfills().Plan(t.Context(), lease, h, account.HoleGivenUp, nil))
	require.Equal(t, account.HoleGivenUp, statusOf(t, db, h))
	plan(t, db, lease, h)
	require.Equal(t, account.HoleGivenUp, statusOf(t, db, h), "what is closed stays as it is")
}

func backfillIsRewound(t *testing.T, db *store.DB) {
	c, lease := held(t, db, "desk")
	advance := func(b account.Backfill, cursor content.MessageID, status account.BackfillStatus) {
		b.Top, b.Cursor, b.Pages, b.Status = 90, cursor, 1, status
		require.NoError(t, db.Backfills().Advance(t.Context(), lease, b))
	}
	h := hole(t, db, 7, harbour, 100)
	plan(t, db, lease, h, harbour)
	fills, err := db.Backfills().Due(t.Context(), c.ID)
	require.NoError(t, err)
	advance(fills[0], 11, account.BackfillDone)
	running, waiting := start(t, db, c.ID, 1), start(t, db, c.ID, 2)
	advance(running, 50, account.BackfillRunning)
	failed := start(t, db, c.ID, 3)
	advance(failed, 50, account.BackfillFailed)
	require.Equal(t, account.HoleFilled, statusOf(t, db, h))

	requireClass(t, fault.NotFound, db.Backfills().Rewind(t.Context(), account.Lease{Name: lease.Name, Owner: "nobody"}, c.ID, time.Hour))
	require.NoError(t, db.Backfills().Rewind(t.Context(), lease, c.ID, time.Hour))
	require.Equal(t, []content.ChatID{harbour, 1, 2}, due(t, db, c.ID), "what Telegram refused stays refused")
	require.Equal(t, account.HoleOpen, statusOf(t, db, h))
	for _, b := range []account.Backfill{fills[0], running, waiting} {
		now := backfill(t, db, b.ID)
		require.Zero(t, now.Cursor)
		require.Zero(t, now.Top)
		require.Equal(t, account.BackfillWaiting, now.Status)
	}
	advance(fills[0], 11, account.BackfillDone)
	require.NoError(t, db.Backfills().Rewind(t.Context(), lease, c.ID, 0))
	require.Equal(t, account.BackfillDone, backfill(t, db, fills[0].ID).Status, "it was done before")
}

func floodWaitsAreKept(t *testing.T, db *store.DB) {
	c, lease := held(t, db, "desk")
	until := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	for _, at := range []time.Time{until.Add(-time.Hour), until} {
		require.NoError(t, db.FloodWaits().Save(t.Context(), lease, c.ID, "messages.getHistory", at))
	}
	require.NoError(t, db.FloodWaits().Save(t.Context(), lease, c.ID, "updates.getDifference", until.Add(time.Hour)))
	waits, err := db.FloodWaits().Load(t.Context(), c.ID)
	require.NoError(t, err)
	require.Equal(t, map[string]time.Time{"messages.getHistory": until, "updates.getDifference": until.Add(time.Hour)}, waits)
	none, err := db.FloodWaits().Load(t.Context(), "nobody")
	require.NoError(t, err)
	require.Empty(t, none)
}

func backfillsAreRemoved(t *testing.T, db *store.DB) {
	c, lease := held(t, db, "desk")
	b := start(t, db, c.ID, harbour)
	require.NoError(t, db.FloodWaits().Save(t.Context(), lease, c.ID, "m", sent))
	require.NoError(t, db.Connectors().Remove(t.Context(), c.ID))
	_, err := db.Backfills().Find(t.Context(), b.ID)
	requireClass(t, fault.NotFound, err)
	waits, err := db.FloodWaits().Load(t.Context(), c.ID)
	require.NoError(t, err)
	require.Empty(t, waits)
}

// BackfillMarks checks how far backfills go back.
func BackfillMarks(t *testing.T, open OpenSQL) {
	a := openArchive(t, open)
	c, lease := held(t, a.db, "desk")
	b := start(t, a.db, c.ID, harbour)
	b.Top, b.Pages, b.Status = 1000, 1, account.BackfillRunning
	for _, cursor := range []content.MessageID{900, 800} {
		b.Cursor = cursor
		require.NoError(t, a.db.Backfills().Advance(t.Context(), lease, b))
	}
	a.exec(t, "UPDATE backfills SET mark_at = '2026-01-01 00:00:00.000000+00:00'")
	for _, cursor := range []content.MessageID{500, 400} {
		b.Cursor = cursor
		require.NoError(t, a.db.Backfills().Advance(t.Context(), lease, b))
	}
	require.NoError(t, a.db.Backfills().Rewind(t.Context(), lease, c.ID, time.Minute))
	now := backfill(t, a.db, b.ID)
	require.EqualValues(t, 900, now.Cursor, "the page of more than ten minutes ago is safe")
	require.EqualValues(t, 1000, now.Top)
	require.NoError(t, a.db.Backfills().Rewind(t.Context(), lease, c.ID, time.Minute))
	require.EqualValues(t, 900, backfill(t, a.db, b.ID).Cursor, "it stays safe")
}
