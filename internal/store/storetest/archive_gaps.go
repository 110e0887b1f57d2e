package storetest

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/tgfleet/tgfleet/internal/content"
)

// someGroup is a basic group, whose messages are numbered by the account.
const someGroup content.ChatID = -4321

// saidInGroup returns the change set of an update that shows message number of the account in a basic group.
func saidInGroup(id int64, number content.MessageID) content.ChangeSet {
	change := post(id, 0, "text")
	change.Messages[0].Key = content.MessageKey{Scope: content.Scope(someBot), ChatID: someGroup, MessageID: number}
	return change
}

// goneByNumber returns the change set of an update which says, seconds after sent, that message number of the account is gone, wherever it was.
func goneByNumber(id int64, seconds int, numbers ...content.MessageID) content.ChangeSet {
	change := update(id)
	for _, number := range numbers {
		change.Deletions = append(change.Deletions, content.Deletion{
			Key: content.MessageKey{Scope: content.Scope(someBot), MessageID: number}, DeletedAt: sent.Add(time.Duration(seconds) * time.Second),
		})
	}
	return change
}

// chatlessDeletionFindsItsMessage: whatever comes first, one message of one account is gone, since the earliest time that was told, by one event.
func chatlessDeletionFindsItsMessage(t *testing.T, a *archive) {
	other := of(otherBot, saidInGroup(8, 7))
	other.Messages[0].Key.Scope = content.Scope(otherBot)
	inChannel := post(9, 0, "text")
	inChannel.Messages[0].Key.MessageID = 7
	message, sooner, later := saidInGroup(1, 7), goneByNumber(2, 60, 7, 5), goneByNumber(3, 90, 7)
	orders := map[string][][]content.ChangeSet{
		"the message first":      {{message}, {later}, {sooner}, {other, inChannel}},
		"the deletion first":     {{sooner}, {other, inChannel}, {message}, {later}},
		"between two deletions":  {{later}, {message, other}, {inChannel, sooner}},
		"in one batch":           {{message, sooner, other, later, inChannel}},
		"in one batch, the last": {{sooner, later, inChannel, other, message}},
		"again and again":        {{message}, {sooner}, {message, later, other}, {message}, {sooner}, {inChannel}, {later}},
	}
	for name, batches := range orders {
		a.clear(t)
		for _, batch := range batches {
			a.apply(t, batch...)
		}
		var at time.Time
		a.each(t, "SELECT deleted_at FROM messages WHERE deleted_at IS NOT NULL", func(scan func(...any) error) error {
			require.True(t, at.IsZero(), "%s: one message is gone", name)
			return scan(&at)
		})
		require.True(t, sent.Add(time.Minute).Equal(at), name)
		require.Equal(t, 3, a.count(t, "messages"), "%s: no message stands without its chat", name)
		require.Equal(t, []string{
			"message.created messages/0/-1001234567890/7", "message.created messages/7000000001/-4321/7", "message.created messages/7000000002/-4321/7",
			"message.deleted messages/7000000001/0/5", "message.deleted messages/7000000001/0/7",
			"message.revised messages/0/-1001234567890/7", "message.revised messages/7000000001/-4321/7", "message.revised messages/7000000002/-4321/7",
		}, a.events(t), name)
	}
}

// chatlessDeletionMeetsItsMessage has two writers apply a message and its deletion at the same moment: the first has looked for the other's row,
// and found none, and is held before it commits until the second is done or waits for it. SQLite never has two writers.
func chatlessDeletionMeetsItsMessage(t *testing.T, a *archive) {
	if a.sql.QueryRowContext(t.Context(), "SELECT sqlite_version()").Scan(new(string)) == nil {
		return
	}
	message, deletion := saidInGroup(1, 7), goneByNumber(2, 60, 7)
	for held, writers := range map[string][]content.ChangeSet{
		"messages":        {message, deletion},
		"platform_events": {deletion, message},
	} {
		a.clear(t)
		hold, err := a.sql.BeginTx(t.Context(), nil)
		require.NoError(t, err)
		_, err = hold.ExecContext(t.Context(), "LOCK TABLE "+held+" IN SHARE MODE")
		require.NoError(t, err)
		var group errgroup.Group
		var done atomic.Int32
		for i, change := range writers {
			group.Go(func() error {
				defer done.Add(1)
				_, err := a.Apply(t.Context(), content.Batch{Changes: []content.ChangeSet{change}})
				return err
			})
			eventually(t, func() bool {
				var waiting int
				a.row(t, "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'", &waiting)
				return waiting+int(done.Load()) > i
			}, "a writer is done or waits")
		}
		require.NoError(t, hold.Rollback())
		require.NoError(t, group.Wait())
		var missed int
		a.row(t, "SELECT count(*) FROM messages WHERE deleted_at IS NULL", &missed)
		require.Zero(t, missed, "held at %s", held)
		require.Equal(t, 1, a.count(t, "messages"))
	}
}

func holesAreKeptOnce(t *testing.T, a *archive) {
	found := func(id int64, seconds int) content.ChangeSet {
		change := update(id)
		change.Holes = []content.Hole{{
			AccountID: someBot, ChatID: someChat, Reason: content.ChannelDifferenceTooLong, FromPts: 5, ToPts: 90, BelowMessageID: 7,
			FoundAt: sent.Add(time.Duration(seconds) * time.Second),
		}}
		return change
	}
	a.apply(t, found(1, 60))
	a.exec(t, "UPDATE holes SET status = 'closed'")
	a.apply(t, found(2, 30), found(3, 80))
	a.apply(t, found(5, 90))
	var status string
	var at time.Time
	a.row(t, "SELECT status, found_at FROM holes", &status, &at)
	require.Equal(t, "closed", status, "a hole that is told again stays closed")
	require.True(t, sent.Add(30*time.Second).Equal(at), "it was there when it was found first")

	other := found(4, 60)
	other.Holes[0].ToPts++
	a.apply(t, other)
	require.Equal(t, 2, a.count(t, "holes"))
}

func newerAccessHashWins(t *testing.T, a *archive) {
	told := func(id int64, seconds int, hash int64) content.ChangeSet {
		change := update(id)
		change.AccessHashes = []content.AccessHash{{AccountID: someBot, Peer: someChat, Hash: hash, Version: version(&change, seconds)}}
		return change
	}
	other := told(3, 0, 33)
	other.AccessHashes[0].AccountID = otherBot
	for name, batches := range map[string][][]content.ChangeSet{
		"in order":     {{told(1, 0, 11), other}, {told(2, 60, 22)}},
		"backwards":    {{told(2, 60, 22)}, {told(1, 0, 11), other}},
		"in one batch": {{told(2, 60, 22), other, told(1, 0, 11)}},
	} {
		a.clear(t)
		for _, batch := range batches {
			a.apply(t, batch...)
		}
		hash, found, err := a.db.AccessHashes().Find(t.Context(), someBot, someChat)
		require.NoError(t, err)
		require.True(t, found)
		require.Equal(t, int64(22), hash, name)
		hash, _, err = a.db.AccessHashes().Find(t.Context(), otherBot, someChat)
		require.NoError(t, err)
		require.Equal(t, int64(33), hash, name)
	}
}
