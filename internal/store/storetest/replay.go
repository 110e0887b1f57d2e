package storetest

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/tgfleet/tgfleet/internal/content"
	"github.com/tgfleet/tgfleet/internal/fault"
	"github.com/tgfleet/tgfleet/internal/ingest"
	"github.com/tgfleet/tgfleet/internal/store"
)

// Replays checks the repository for reading the ledger again.
func Replays(t *testing.T, open OpenSQL) {
	rules := map[string]func(t *testing.T, a *archive){
		"a newer reading wins, replaces what belongs to it, and is no news": newerReadingReplaces,
		"rows say which normaliser wrote them":                              rowsSayTheirNormaliser,
		"a preview tells what would change and changes nothing":             previewChangesNothing,
		"the same normaliser changes nothing":                               sameReadingChangesNothing,
		"what others change meanwhile is not told as a change":              othersChangesAreTheirs,
		"only what is asked for is read again":                              replayIsBounded,
		"a replay goes on where it stopped":                                 replayResumes,
		"one process at a time runs a replay":                               replayHasOneOwner,
		"what can't be read is refused, and the rest is not":                replayRefuses,
		"what the database refuses is found and left out":                   replayIsolates,
	}
	for _, name := range slices.Sorted(maps.Keys(rules)) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rules[name](t, openArchive(t, open))
		})
	}
}

// rereader reads updates of the tests again: what makes them is asked for the change set by the update's id.
func rereader(version uint16, reading func(id int64) content.ChangeSet) store.Reader {
	return func(r *store.LedgerRow) (content.ChangeSet, error) {
		change := reading(r.UpdateID)
		change.Update = content.Update{
			Envelope: ingest.Envelope{
				Source: r.Source, ReceivedAt: r.ReceivedAt, Origin: r.Origin, Format: r.Format, Layer: r.Layer, Request: r.Request, Raw: r.Payload,
			},
			Hash: r.Hash, UpdateID: r.UpdateID, Kind: r.Kind, ChatID: r.ChatID, NormaliserVersion: version,
		}
		return change, nil
	}
}

// readAs returns change as a normaliser of version makes it.
func readAs(version uint16, change func() content.ChangeSet) content.ChangeSet {
	made := change()
	restamp := func(v content.Version) content.Version {
		return v.Snapshot() + content.Version([]byte{byte(version >> 8), byte(version)})
	}
	for i := range made.Messages {
		made.Messages[i].NormaliserVersion = version
		made.Messages[i].Version = restamp(made.Messages[i].Version)
	}
	for i := range made.Memberships {
		made.Memberships[i].Version = restamp(made.Memberships[i].Version)
	}
	made.Update.NormaliserVersion = version
	return made
}

// betterPost is the post of update id as a newer normaliser reads it.
func betterPost(id int64) content.ChangeSet {
	return readAs(2, func() content.ChangeSet { return photo(id, int(id), file(fmt.Sprint("better ", id))) })
}

// all turns the pages of a replay to its end.
func (a *archive) all(t *testing.T, replay *store.Replay, limit int, read store.Reader) (changes []store.RowChange) {
	t.Helper()
	for !replay.Done {
		reading, err := a.db.Replays().Next(t.Context(), replay, limit, read)
		require.NoError(t, err)
		changes = append(changes, reading.Changes...)
	}
	return changes
}

func (a *archive) begin(t *testing.T, what store.ReplayRange) *store.Replay {
	t.Helper()
	replay, err := a.db.Replays().Begin(t.Context(), what, 2)
	require.NoError(t, err)
	return &replay
}

func newerReadingReplaces(t *testing.T, a *archive) {
	a.apply(t, photo(1, 1, file("one"), file("two")), post(2, 20, "another day"))
	before := a.events(t)

	changes := a.all(t, a.begin(t, store.ReplayRange{}), 10, rereader(2, func(id int64) content.ChangeSet {
		if id == 1 {
			return betterPost(1)
		}
		return readAs(2, func() content.ChangeSet { return post(2, 20, "another day") })
	}))
	var text, files int
	a.row(t, "SELECT count(*) FROM media", &files)
	require.Zero(t, files, "the later message of the same key has none")
	a.row(t, "SELECT count(*) FROM message_revisions", &text)
	require.Equal(t, 2, text, "the content that the older one read is replaced")
	require.Equal(t, before, a.events(t))
	tables := map[string]int{}
	for _, change := range changes {
		tables[change.Table]++
	}
	require.Equal(t, map[string]int{"message_revisions": 2, "media_files": 1}, tables)
}

func rowsSayTheirNormaliser(t *testing.T, a *archive) {
	change := betterPost(1)
	change.Chats = []content.Chat{{ID: someChat, Version: change.Messages[0].Version, Type: content.Channel}}
	change.Users = []content.User{{ID: 5, Version: change.Messages[0].Version}}
	a.apply(t, change)
	for _, table := range []string{"updates", "messages", "message_revisions", "media_files", "chats", "users"} {
		var version int
		a.row(t, "SELECT normaliser_version FROM "+table, &version)
		require.Equal(t, 2, version, table)
	}
	var version int
	a.apply(t, readAs(0x1fe, func() content.ChangeSet { return post(2, 30, "far ahead") }))
	a.row(t, "SELECT max(normaliser_version) FROM message_revisions", &version)
	require.Equal(t, 0x1fe, version)
	_, err := a.Apply(t.Context(), content.Batch{Changes: []content.ChangeSet{deleted(3, 1)}})
	require.NoError(t, err)
}

func previewChangesNothing(t *testing.T, a *archive) {
	a.apply(t, photo(1, 1, file("one")))
	before := a.dump(t)
	read := rereader(2, betterPost)

	preview := store.Replay{}
	told, err := a.db.Replays().Preview(t.Context(), &preview, 10, read)
	require.NoError(t, err)
	require.True(t, preview.Done)
	require.Equal(t, before, a.dump(t))
	require.Zero(t, a.count(t, "replays"))

	require.Equal(t, told.Changes, a.all(t, a.begin(t, store.ReplayRange{}), 10, read))
	require.NotEqual(t, before, a.dump(t))
	require.Len(t, told.Changes, preview.Changed)
	var media store.RowChange
	for _, change := range told.Changes {
		if change.Table == "media" {
			media = change
		}
	}
	require.Equal(t, fmt.Sprintf("0/%d/%d/0", someChat, someMessage), media.Key)
	require.Equal(t, []store.CellChange{{Column: "file_unique_id", Before: "one", After: "better 1"}}, media.Cells)
	var states []string
	for _, change := range told.Changes {
		states = append(states, fmt.Sprintf("%s: new %t, gone %t", change.Table, change.New, change.Gone))
	}
	require.ElementsMatch(t, []string{
		"media: new false, gone false", "media_files: new true, gone false",
		"message_revisions: new true, gone false", "message_revisions: new false, gone true",
	}, states)
}

func sameReadingChangesNothing(t *testing.T, a *archive) {
	a.apply(t, photo(1, 1, file("one")), post(2, 2, "text"), deleted(3, 3))
	before := a.dump(t)
	changes := a.all(t, a.begin(t, store.ReplayRange{}), 2, rereader(1, func(id int64) content.ChangeSet {
		return map[int64]content.ChangeSet{1: photo(1, 1, file("one")), 2: post(2, 2, "text"), 3: deleted(3, 3)}[id]
	}))
	require.Empty(t, changes)
	require.Equal(t, before, a.dump(t))
}

func othersChangesAreTheirs(t *testing.T, a *archive) {
	const messages, rounds = 5, 60
	first := func(id int64) content.ChangeSet {
		change := photo(id, 0, file(fmt.Sprint(id)))
		change.Messages[0].Key.MessageID = content.MessageID(id)
		return change
	}
	for id := range int64(messages) {
		a.apply(t, first(id))
	}
	var group errgroup.Group
	group.Go(func() error {
		for i := range int64(rounds * messages) {
			change := photo(100+i, 1+int(i), file(fmt.Sprint("edited ", i)))
			change.Update.Envelope.ReceivedAt = received.Add(24 * time.Hour)
			change.Messages[0].Key.MessageID = content.MessageID(i % messages)
			if _, err := a.Apply(t.Context(), content.Batch{Changes: []content.ChangeSet{change}}); err != nil {
				return err
			}
		}
		return nil
	})
	for range rounds {
		preview := store.Replay{Range: store.ReplayRange{To: received.Add(time.Hour)}}
		reading, err := a.db.Replays().Preview(t.Context(), &preview, 10, rereader(1, first))
		require.NoError(t, err)
		require.Equal(t, messages, reading.Updates)
		require.Empty(t, reading.Changes)
	}
	require.NoError(t, group.Wait())
}

func replayIsBounded(t *testing.T, a *archive) {
	for id := range int64(4) {
		change := update(id)
		change.Update.Envelope.ReceivedAt = received.Add(time.Duration(id) * 20 * time.Hour)
		a.apply(t, change)
	}
	other := of(otherBot, update(4))
	other.Update.Kind = "poll"
	a.apply(t, other)
	for name, c := range map[string]struct {
		what store.ReplayRange
		want []int64
	}{
		"all":           {store.ReplayRange{}, []int64{0, 1, 2, 3, 4}},
		"from":          {store.ReplayRange{From: received.Add(20 * time.Hour)}, []int64{1, 2, 3}},
		"to is out":     {store.ReplayRange{To: received.Add(20 * time.Hour)}, []int64{0, 4}},
		"source":        {store.ReplayRange{Source: other.Update.Envelope.Source}, []int64{4}},
		"kind and from": {store.ReplayRange{Kind: "message", From: received.Add(time.Hour), To: received.Add(50 * time.Hour)}, []int64{1, 2}},
	} {
		replay := store.Replay{Range: c.what}
		remaining, err := a.db.Replays().Remaining(t.Context(), replay)
		require.NoError(t, err)
		require.Equal(t, len(c.want), remaining, name)
		var read []int64
		for !replay.Done {
			_, err := a.db.Replays().Preview(t.Context(), &replay, 2, rereader(2, func(id int64) content.ChangeSet {
				read = append(read, id)
				return content.ChangeSet{}
			}))
			require.NoError(t, err)
		}
		slices.Sort(read)
		require.Equal(t, c.want, read, name)
	}
}

func replayResumes(t *testing.T, a *archive) {
	var history []content.ChangeSet
	for id := int64(1); id <= 5; id++ {
		history = append(history, photo(id, int(id), file(fmt.Sprint(id))))
	}
	a.apply(t, history...)
	what := store.ReplayRange{From: received.Add(-time.Hour)}
	first := a.begin(t, what)
	_, err := a.db.Replays().Next(t.Context(), first, 2, rereader(2, betterPost))
	require.NoError(t, err)
	require.NoError(t, a.db.Replays().Release(t.Context(), *first))

	again := a.begin(t, what)
	require.Equal(t, first.ID, again.ID)
	require.Equal(t, 2, again.Updates)
	var read []int64
	a.all(t, again, 2, rereader(2, func(id int64) content.ChangeSet {
		read = append(read, id)
		return betterPost(id)
	}))
	require.Equal(t, []int64{3, 4, 5}, read)
	require.Equal(t, 5, again.Updates)

	other := a.begin(t, what)
	require.NotEqual(t, first.ID, other.ID, "one that came to its end is not taken up")
	require.Zero(t, other.Updates)
	elsewhere := a.begin(t, store.ReplayRange{Kind: "message", From: what.From})
	require.NotEqual(t, other.ID, elsewhere.ID)
}

func replayHasOneOwner(t *testing.T, a *archive) {
	a.apply(t, post(1, 1, "one"), post(2, 2, "two"))
	replays := a.db.Replays()
	held := a.begin(t, store.ReplayRange{})
	_, err := replays.Begin(t.Context(), store.ReplayRange{}, 2)
	require.Equal(t, fault.Throttled, fault.ClassOf(err))

	// The owner froze for longer than its hold, and somebody else went on.
	a.exec(t, "UPDATE replays SET held_until = started_at")
	taken := a.begin(t, store.ReplayRange{})
	require.Equal(t, held.ID, taken.ID)
	_, err = replays.Next(t.Context(), taken, 1, rereader(2, betterPost))
	require.NoError(t, err)
	before := a.dump(t)
	_, err = replays.Next(t.Context(), held, 1, rereader(2, func(id int64) content.ChangeSet {
		return readAs(3, func() content.ChangeSet { return betterPost(id) })
	}))
	require.Equal(t, fault.NotFound, fault.ClassOf(err))
	require.Equal(t, before, a.dump(t))

	require.NoError(t, replays.Release(t.Context(), *taken))
	require.NoError(t, replays.Keep(t.Context(), *taken))
	_, err = replays.Begin(t.Context(), store.ReplayRange{}, 2)
	require.Equal(t, fault.Throttled, fault.ClassOf(err), "kept")
}

func replayRefuses(t *testing.T, a *archive) {
	a.apply(t, photo(1, 1, file("one")), photo(2, 2, file("two")))
	read := rereader(2, betterPost)
	replay := a.begin(t, store.ReplayRange{})
	reading, err := a.db.Replays().Next(t.Context(), replay, 10, func(r *store.LedgerRow) (content.ChangeSet, error) {
		change, err := read(r)
		switch r.UpdateID {
		case 1:
			return content.ChangeSet{}, errors.New("malformed")
		default:
			change.Messages = append(change.Messages, change.Messages[0])
			change.Messages[1].Key.MessageID++
			return change, err
		}
	})
	require.NoError(t, err)
	require.Equal(t, 1, replay.Refused)
	require.EqualValues(t, 1, reading.Refused[0].UpdateID)
	require.EqualError(t, reading.Refused[0].Reason, "malformed")
	require.Equal(t, 2, a.count(t, "messages"))
}

func replayIsolates(t *testing.T, a *archive) {
	var history []content.ChangeSet
	for id := int64(1); id <= 7; id++ {
		history = append(history, post(id, int(id), "text"))
	}
	a.apply(t, history...)
	a.exec(t, "CREATE UNIQUE INDEX taken ON polls (question)")
	replay := a.begin(t, store.ReplayRange{})
	var refused []int64
	for !replay.Done {
		reading, err := a.db.Replays().Next(t.Context(), replay, 5, rereader(2, func(id int64) content.ChangeSet {
			question := fmt.Sprint(id)
			if id == 4 {
				question = "3"
			}
			return content.ChangeSet{Polls: []content.Poll{{ID: fmt.Sprint(id), Version: "v", Question: question, Options: "[]"}}}
		}))
		require.NoError(t, err)
		for _, refusal := range reading.Refused {
			require.Equal(t, fault.Permanent, fault.ClassOf(refusal.Reason))
			refused = append(refused, refusal.UpdateID)
		}
	}
	require.Len(t, refused, 1)
	require.Contains(t, []int64{3, 4}, refused[0])
	require.Equal(t, 6, a.count(t, "polls"))
	require.Equal(t, 7, replay.Updates)
}
