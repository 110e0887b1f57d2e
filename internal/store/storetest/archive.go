package storetest

import (
	"database/sql"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tgfleet/tgfleet/internal/content"
	"github.com/tgfleet/tgfleet/internal/event"
	"github.com/tgfleet/tgfleet/internal/fault"
	"github.com/tgfleet/tgfleet/internal/ingest"
	"github.com/tgfleet/tgfleet/internal/store"
)

// OpenSQL returns a DB over a migrated, empty database that belongs to t alone, and the pool below it.
type OpenSQL = func(t *testing.T) (*store.DB, *sql.DB)

// Archive checks the repository of what Telegram told.
func Archive(t *testing.T, open OpenSQL) {
	rules := map[string]func(t *testing.T, a *archive){
		"an update is kept as it came":                                  updateIsKept,
		"a repeat counts nothing and changes nothing":                   repeatChangesNothing,
		"the ledger keeps the earliest arrival of a day":                ledgerKeepsEarliest,
		"the ledger has a row for each day of arrival":                  ledgerKeepsDays,
		"a newer normaliser's reading reaches the ledger":               ledgerTakesNewerReading,
		"an id that Telegram used again is another update":              ledgerTellsUpdatesApart,
		"a message is kept with all its fields":                         messageIsKept,
		"a newer snapshot of a message wins, whatever comes first":      newerMessageWins,
		"two snapshots of a message in one batch make one row":          messagesFold,
		"a deletion survives every snapshot":                            deletionStays,
		"a deletion may come before its message":                        deletionMayComeFirst,
		"a deletion without a chat finds its message":                   chatlessDeletionFindsItsMessage,
		"a deletion and its message meet":                               chatlessDeletionMeetsItsMessage,
		"a hole is kept once, and stays closed":                         holesAreKeptOnce,
		"a newer access hash wins":                                      newerAccessHashWins,
		"reading an update again is no news":                            rereadingIsNoNews,
		"a message without media stays without":                         mediaLess,
		"the media of the winning snapshot replace the others":          mediaAreReplaced,
		"a file is known to each account by its newest id":              filesBelongToAccounts,
		"a file id arrives even in a snapshot that lost":                filesOutliveLosers,
		"each distinct content is one revision, the oldest of its kind": revisionsAreDistinct,
		"contents that one batch overtakes are revisions too":           revisionsOfOneBatch,
		"a content that comes back keeps its first date":                revisionsKeepFirstDate,
		"a message is created once, each content revised once":          eventsAreArbitrated,
		"an event is made of the oldest snapshot of its batch":          eventsAreOfTheOldest,
		"a newer snapshot of a chat wins":                               chatsAreGuarded,
		"a newer version with equal content still raises the version":   versionsRise,
		"a user's profile and language are versioned apart":             userGroupsAreApart,
		"a user who is seen twenty times in a batch is one row":         usersFold,
		"what is told beside messages is kept":                          stateIsKept,
		"newer state wins, whatever comes first":                        newerStateWins,
		"reading state again is no news":                                rereadStateIsNoNews,
		"an interaction happened when it first came":                    interactionKeepsFirstDate,
		"a boost's removal may come before it":                          boostRemovalMayComeFirst,
		"dead letters die once":                                         deadLettersDieOnce,
		"a batch carries its spool rows out":                            spoolRowsLeave,
		"updates in awkward orders land right":                          awkwardOrdersLandRight,
		"an empty batch is nothing":                                     emptyBatch,
		"a failure leaves nothing of the batch":                         failureLeavesNothing,
		"a time that no database holds is a permanent fault":            impossibleTimes,
		"a caller who has gone leaves nothing":                          goneCaller,
		"a probe writes while the database takes writes":                probeWrites,
	}
	for _, name := range slices.Sorted(maps.Keys(rules)) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rules[name](t, openArchive(t, open))
		})
	}
	t.Run("any order, repetition and cut gives one result", func(t *testing.T) {
		t.Parallel()
		convergesInAnyOrder(t, openArchive(t, open))
	})
	t.Run("writers who share rows never wait for each other in a circle", func(t *testing.T) {
		t.Parallel()
		writersNeverBlockEachOther(t, openArchive(t, open))
	})
	t.Run("writers at the same time give one result", func(t *testing.T) {
		t.Parallel()
		convergesWithManyWriters(t, open)
	})
}

// archive is the fixture of one test.
type archive struct {
	*store.Archive
	db  *store.DB
	sql *sql.DB
}

func openArchive(t *testing.T, open OpenSQL) *archive {
	t.Helper()
	db, pool := open(t)
	return &archive{Archive: db.Archive(), db: db, sql: pool}
}

// apply applies changes as one batch.
func (a *archive) apply(t *testing.T, changes ...content.ChangeSet) content.Outcome {
	t.Helper()
	outcome, err := a.Apply(t.Context(), content.Batch{Changes: changes})
	require.NoError(t, err)
	return outcome
}

// row scans the one row of query.
func (a *archive) row(t *testing.T, query string, dest ...any) {
	t.Helper()
	require.NoError(t, a.sql.QueryRowContext(t.Context(), query).Scan(dest...), query)
}

func (a *archive) count(t *testing.T, table string) (n int) {
	t.Helper()
	a.row(t, "SELECT count(*) FROM "+table, &n)
	return n
}

func (a *archive) exec(t *testing.T, statement string) {
	t.Helper()
	_, err := a.sql.ExecContext(t.Context(), statement)
	require.NoError(t, err)
}

const (
	someChat    content.ChatID    = -1001234567890
	someMessage content.MessageID = 77
	someBot     int64             = 7_000_000_001
	otherBot    int64             = 7_000_000_002
)

// sent is when Telegram sent the first message of a test.
var sent = time.Date(2026, 3, 1, 11, 59, 58, 0, time.UTC)

// update returns a change set that changes nothing but the ledger.
func update(id int64) content.ChangeSet {
	raw := []byte(`{"update_id":` + time.Duration(id).String() + `}`)
	return content.ChangeSet{Update: content.Update{
		Envelope: ingest.Envelope{
			Source: ingest.Source{Transport: ingest.BotAPI, Account: someBot}, ReceivedAt: received,
			Origin: ingest.Live, Format: ingest.BotAPIJSON, Raw: raw,
		},
		Hash: ingest.HashOf(raw), UpdateID: id, Kind: "message", ChatID: someChat, NormaliserVersion: 1,
	}}
}

// of returns the change set as some other account received it.
func of(account int64, change content.ChangeSet) content.ChangeSet {
	change.Update.Envelope.Source.Account = account
	return change
}

// version returns the version of what change shows, produced at seconds after sent.
func version(change *content.ChangeSet, seconds int) content.Version {
	return content.NewVersion(content.Stamp{
		Date: sent.Add(time.Duration(seconds) * time.Second), Edit: seconds > 0, Source: change.Update.Envelope.Source,
		Sequence: change.Update.UpdateID, Hash: change.Update.Hash, Normaliser: change.Update.NormaliserVersion,
	})
}

// post returns the change set of an update that shows a text message, edited seconds after it was sent.
func post(id int64, seconds int, text string) content.ChangeSet {
	change := update(id)
	m := content.Message{
		Key:     content.MessageKey{Scope: content.ScopeShared, ChatID: someChat, MessageID: someMessage},
		Version: version(&change, seconds), Kind: "text", NormaliserVersion: 1, Date: sent, Text: text,
	}
	if seconds > 0 {
		m.EditDate = sent.Add(time.Duration(seconds) * time.Second)
	}
	change.Messages = []content.Message{m}
	return change
}

// photo returns post with files as its media.
func photo(id int64, seconds int, files ...content.Media) content.ChangeSet {
	change := post(id, seconds, "")
	change.Messages[0].Kind, change.Messages[0].Media = "photo", files
	return change
}

func file(name string) content.Media {
	return content.Media{Kind: "photo", FileUniqueID: name, FileID: name + "-here"}
}

func emptyBatch(t *testing.T, a *archive) {
	require.Zero(t, a.apply(t))
}

func probeWrites(t *testing.T, a *archive) {
	require.NoError(t, a.Probe(t.Context()))
	require.NoError(t, a.Probe(t.Context()))
	require.NoError(t, a.db.Close())
	require.Error(t, a.Probe(t.Context()))
}

func failureLeavesNothing(t *testing.T, a *archive) {
	a.apply(t, post(1, 0, "before"))
	before := a.dump(t)
	// The spool's rows are the last thing that a batch touches.
	a.exec(t, "ALTER TABLE spool RENAME TO elsewhere")
	batch := content.Batch{Changes: []content.ChangeSet{post(2, 5, "after")}, SpoolIDs: []int64{1}}
	batch.Changes[0].Chats = []content.Chat{{ID: someChat, Version: version(&batch.Changes[0], 5)}}
	outcome, err := a.Apply(t.Context(), batch)
	require.Error(t, err)
	require.Zero(t, outcome)
	require.Equal(t, before, a.dump(t))

	a.exec(t, "ALTER TABLE elsewhere RENAME TO spool")
	outcome, err = a.Apply(t.Context(), batch)
	require.NoError(t, err)
	require.Equal(t, content.Outcome{Updates: 1, Revisions: 1, Events: 2}, outcome)
}

func impossibleTimes(t *testing.T, a *archive) {
	tooLate := time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)
	for name, spoil := range map[string]func(b *content.Batch){
		"receipt":  func(b *content.Batch) { b.Changes[0].Update.Envelope.ReceivedAt = tooLate },
		"date":     func(b *content.Batch) { b.Changes[0].Messages[0].Date = time.Unix(1<<60, 0) },
		"edit":     func(b *content.Batch) { b.Changes[0].Messages[0].EditDate = tooLate },
		"forward":  func(b *content.Batch) { b.Changes[0].Messages[0].Forward.Date = time.Unix(-1<<60, 0) },
		"deletion": func(b *content.Batch) { b.Changes[0].Deletions = []content.Deletion{{DeletedAt: tooLate}} },
		"membership": func(b *content.Batch) {
			b.Changes[0].Memberships = []content.Membership{{Date: sent, UntilDate: tooLate}}
		},
		"reaction": func(b *content.Batch) { b.Changes[0].Reactions = []content.Reaction{{Date: tooLate}} },
		"count":    func(b *content.Batch) { b.Changes[0].ReactionCounts = []content.ReactionCount{{Date: tooLate}} },
		"poll":     func(b *content.Batch) { b.Changes[0].Polls = []content.Poll{{CloseDate: tooLate}} },
		"asking":   func(b *content.Batch) { b.Changes[0].Interactions = []content.Interaction{{Date: tooLate}} },
		"business": func(b *content.Batch) {
			b.Changes[0].BusinessConnections = []content.BusinessConnection{{Date: tooLate}}
		},
		"boost":     func(b *content.Batch) { b.Changes[0].ChatBoosts = []content.ChatBoost{{ExpirationDate: tooLate}} },
		"migration": func(b *content.Batch) { b.Changes[0].ChatAliases = []content.ChatAlias{{Date: tooLate}} },
		"death": func(b *content.Batch) {
			b.DeadLetters = []ingest.DeadLetter{{Envelope: b.Changes[0].Update.Envelope, DiedAt: tooLate}}
		},
	} {
		batch := content.Batch{Changes: []content.ChangeSet{post(1, 0, "a")}}
		spoil(&batch)
		_, err := a.Apply(t.Context(), batch)
		require.Equal(t, fault.Permanent, fault.ClassOf(err), name)
	}
	require.Zero(t, a.count(t, "updates"))
	last := tooLate.Add(-time.Microsecond)
	change := post(1, 0, "a")
	change.Messages[0].Date = last
	a.apply(t, change)
	var date time.Time
	a.row(t, "SELECT date FROM messages", &date)
	require.WithinDuration(t, last, date, 0)
}

func goneCaller(t *testing.T, a *archive) {
	ctx, cancel := contextOf(t)
	cancel()
	_, err := a.Apply(ctx, content.Batch{Changes: []content.ChangeSet{post(1, 0, "a")}})
	require.Equal(t, fault.Transient, fault.ClassOf(err))
	require.Zero(t, a.count(t, "updates"))
}

func spoolRowsLeave(t *testing.T, a *archive) {
	spool := a.db.Spool()
	first, second, third := put(t, spool, ingest.Spooled{}), put(t, spool, ingest.Spooled{}), put(t, spool, ingest.Spooled{})
	_, err := a.Apply(t.Context(), content.Batch{Changes: []content.ChangeSet{update(1)}, SpoolIDs: []int64{third, first, third + 99}})
	require.NoError(t, err)
	left := claim(t, spool, 10, late)
	require.Len(t, left, 1)
	require.Equal(t, second, left[0].ID)
}

func deadLettersDieOnce(t *testing.T, a *archive) {
	letter := ingest.DeadLetter{
		Envelope: update(9).Update.Envelope, UpdateID: 9, Class: "panic", Error: "index out of range", NormaliserVersion: 3,
		DiedAt: received.Add(time.Minute),
	}
	letter.Envelope.Request = []byte("getDifference")
	elsewhere := letter
	elsewhere.Envelope.Source.Account = otherBot
	batch := content.Batch{DeadLetters: []ingest.DeadLetter{letter, elsewhere, letter}}
	outcome, err := a.Apply(t.Context(), batch)
	require.NoError(t, err)
	require.Equal(t, content.Outcome{DeadLetters: 2}, outcome)

	batch.DeadLetters[0].Class = "other"
	outcome, err = a.Apply(t.Context(), batch)
	require.NoError(t, err)
	require.Zero(t, outcome)
	var class, source string
	var payload, hash, request []byte
	var at, died time.Time
	a.row(t, `SELECT class, source, payload, hash, request, received_at, died_at FROM dead_letters ORDER BY source LIMIT 1`,
		&class, &source, &payload, &hash, &request, &at, &died)
	require.Equal(t, "panic", class)
	require.Equal(t, letter.Envelope.Source.String(), source)
	require.Equal(t, letter.Envelope.Raw, payload)
	sum := ingest.HashOf(letter.Envelope.Raw)
	require.Equal(t, sum[:], hash)
	require.Equal(t, letter.Envelope.Request, request)
	require.WithinDuration(t, received, at, 0)
	require.WithinDuration(t, letter.DiedAt, died, 0)
}

func eventsAreArbitrated(t *testing.T, a *archive) {
	first, second := post(1, 0, "a"), post(2, 5, "b")
	require.Equal(t, content.Outcome{Updates: 1, Messages: 1, Revisions: 1, Events: 2}, a.apply(t, second))
	require.Equal(t, content.Outcome{Updates: 1, Revisions: 1, Events: 1}, a.apply(t, first, second))
	require.Equal(t, content.Outcome{}, a.apply(t, second, first))
	require.Equal(t, []string{
		"message.created messages/0/-1001234567890/77", "message.revised messages/0/-1001234567890/77",
		"message.revised messages/0/-1001234567890/77",
	}, a.events(t))

	want := event.OfMessageRevised(&first.Messages[0], first.Messages[0].ContentHash(), &first.Update.Envelope)
	var source, data string
	var at time.Time
	a.row(t, `SELECT source, time, data FROM platform_events WHERE id = '`+want.ID+`'`, &source, &at, &data)
	require.Equal(t, want.Source.String(), source)
	require.WithinDuration(t, want.Time, at, 0)
	require.JSONEq(t, string(want.Data), data)
}

func eventsAreOfTheOldest(t *testing.T, a *archive) {
	same := func(id int64, seconds int) content.ChangeSet { return of(someBot+id, post(id, seconds, "a")) }
	a.apply(t, same(3, 9), same(1, 0), same(2, 5))
	var sources []string
	a.each(t, "SELECT source FROM platform_events", func(scan func(...any) error) error {
		var source string
		err := scan(&source)
		sources = append(sources, source)
		return err
	})
	oldest := ingest.Source{Transport: ingest.BotAPI, Account: someBot + 1}.String()
	require.Equal(t, []string{oldest, oldest}, sources)
}
