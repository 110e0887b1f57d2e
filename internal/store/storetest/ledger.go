package storetest

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/tgfleet/tgfleet/internal/content"
	"github.com/tgfleet/tgfleet/internal/fault"
	"github.com/tgfleet/tgfleet/internal/ingest"
	"github.com/tgfleet/tgfleet/internal/store"
)

// Ledger checks the repository for reading the updates that came.
func Ledger(t *testing.T, open Open) {
	behaviours{
		"a tail begins with the latest rows, in the order of receipt": tailBegins,
		"a tail goes on with what came since, each row once":          tailGoesOn,
		"the order is that of receipt, whatever the ids":              tailIsOrdered,
		"a tail of an empty ledger shows all that comes":              tailOfNothing,
		"a row that commits late is shown for two minutes of receipt": tailShowsLateRows,
		"what a tail passed over at its beginning stays passed over":  tailPassesOver,
		"more rows than the limit come in several calls":              tailIsLimited,
		"a cursor is a value":                                         cursorIsValue,
		"a filtered tail shows what the filter means":                 tailIsFiltered,
		"a tail of a chat shows it under all its ids":                 tailFollowsMigrations,
		"a filtered tail moves on with the rows that it leaves out":   filteredTailMovesOn,
		"rows of a clock that runs ahead hide no others":              tailSurvivesWrongClocks,
		"a tail beside many writers shows every row once":             tailBesideWriters,
		"an update is shown with its exact bytes":                     updateIsShown,
		"every row of an update is shown, of every day and all bytes": everyRowIsShown,
		"an update that is not there is not found":                    updateIsNotFound,
	}.check(t, open)
}

// arrival returns the n-th update, received n seconds after the first.
func arrival(n int) content.ChangeSet {
	change := update(int64(n))
	change.Update.Envelope.ReceivedAt = received.Add(time.Duration(n) * time.Second)
	return change
}

func arrivals(numbers ...int) []content.ChangeSet {
	changes := make([]content.ChangeSet, len(numbers))
	for i, n := range numbers {
		changes[i] = arrival(n)
	}
	return changes
}

func record(t *testing.T, db *store.DB, changes ...content.ChangeSet) {
	t.Helper()
	outcome, err := db.Archive().Apply(t.Context(), content.Batch{Changes: changes})
	require.NoError(t, err)
	require.Equal(t, len(changes), outcome.Updates)
}

// tail is a tail under way.
type tail struct {
	ledger *store.Ledger
	filter store.LedgerFilter
	cursor store.Cursor
}

// next returns the numbers of the rows that the next call shows.
func (f *tail) next(t *testing.T, limit int) []int {
	t.Helper()
	rows, cursor, err := f.ledger.Tail(t.Context(), f.cursor, limit, f.filter)
	require.NoError(t, err)
	require.LessOrEqual(t, len(rows), limit)
	f.cursor = cursor
	return numbersOf(rows)
}

func numbersOf(rows []store.LedgerRow) []int {
	numbers := make([]int, len(rows))
	for i := range rows {
		numbers[i] = int(rows[i].UpdateID)
	}
	return numbers
}

func tailBegins(t *testing.T, db *store.DB) {
	exact := arrival(4)
	exact.Update.Envelope.Source = ingest.Source{Transport: ingest.MTProto, Account: 9}
	exact.Update.Envelope.Origin, exact.Update.Envelope.Format, exact.Update.Envelope.Layer = ingest.Difference, ingest.MTProtoTL, 214
	exact.Update.Envelope.Request = []byte("request")
	exact.Update.NormaliserVersion = 65535
	chatless := arrival(3)
	chatless.Update.ChatID = 0
	record(t, db, exact, chatless, arrival(1), arrival(2))

	rows, _, err := db.Ledger().Tail(t.Context(), store.Cursor{}, 2, store.LedgerFilter{})
	require.NoError(t, err)
	require.Equal(t, []int{3, 4}, numbersOf(rows))
	require.Zero(t, rows[0].ChatID)
	require.Equal(t, store.LedgerRow{
		Source: exact.Update.Envelope.Source, UpdateID: 4, Hash: exact.Update.Hash, ReceivedAt: exact.Update.Envelope.ReceivedAt,
		Kind: "message", ChatID: someChat, Origin: ingest.Difference, Format: ingest.MTProtoTL, Layer: 214, NormaliserVersion: 65535,
		SizeBytes: len(exact.Update.Envelope.Raw),
	}, rows[1], "all but the bytes")
}

func tailGoesOn(t *testing.T, db *store.DB) {
	record(t, db, arrivals(1, 2, 3)...)
	follow := tail{ledger: db.Ledger()}
	require.Equal(t, []int{1, 2, 3}, follow.next(t, 10))
	require.Empty(t, follow.next(t, 10))
	record(t, db, arrivals(6, 4, 5)...)
	require.Equal(t, []int{4, 5, 6}, follow.next(t, 10))
	record(t, db, arrivals(1000)...)
	require.Equal(t, []int{1000}, follow.next(t, 10))
	require.Empty(t, follow.next(t, 10))
}

func tailIsOrdered(t *testing.T, db *store.DB) {
	// The ids fall as time goes on, as they may after Telegram drew new ones; and two sources share the time.
	back := func(id, seconds int) content.ChangeSet {
		change := update(int64(id))
		change.Update.Envelope.Source.Account = someBot + int64(id%2)
		change.Update.Envelope.ReceivedAt = received.Add(time.Duration(seconds) * time.Second)
		return change
	}
	record(t, db, back(90, 10), back(91, 9), back(92, 8), back(93, 7))
	follow := tail{ledger: db.Ledger()}
	require.Equal(t, []int{92, 91, 90}, follow.next(t, 3))
	record(t, db, back(80, 20), back(81, 19), back(82, 18), back(83, 17))
	require.Equal(t, []int{83, 82, 81}, follow.next(t, 3))
	require.Equal(t, []int{80}, follow.next(t, 3))
}

func tailOfNothing(t *testing.T, db *store.DB) {
	follow := tail{ledger: db.Ledger()}
	require.Empty(t, follow.next(t, 2))
	require.Empty(t, follow.next(t, 2))
	record(t, db, arrivals(1, 1000, 2000)...)
	require.Equal(t, []int{1, 1000}, follow.next(t, 2))
	require.Equal(t, []int{2000}, follow.next(t, 2))
}

func tailShowsLateRows(t *testing.T, db *store.DB) {
	record(t, db, arrivals(0, 500)...)
	follow := tail{ledger: db.Ledger()}
	require.Equal(t, []int{0, 500}, follow.next(t, 10))
	record(t, db, arrivals(510, 390, 370)...)
	require.Equal(t, []int{390, 510}, follow.next(t, 10), "370 is later than a tail waits")
	record(t, db, arrivals(391, 389)...)
	require.Equal(t, []int{391}, follow.next(t, 10), "the tail has moved on")
	require.Empty(t, follow.next(t, 10))
}

func tailPassesOver(t *testing.T, db *store.DB) {
	record(t, db, arrivals(1, 2, 3, 4, 5)...)
	follow := tail{ledger: db.Ledger()}
	require.Equal(t, []int{5}, follow.next(t, 1))
	require.Empty(t, follow.next(t, 10))
	record(t, db, arrivals(6)...)
	require.Equal(t, []int{6}, follow.next(t, 10))
}

func tailIsLimited(t *testing.T, db *store.DB) {
	record(t, db, arrivals(0)...)
	follow := tail{ledger: db.Ledger()}
	require.Equal(t, []int{0}, follow.next(t, 3))
	// More than two minutes in one piece, and several rows of one instant across the cut.
	changes := arrivals(100, 200, 300, 400, 500)
	for n := range 5 {
		same := arrival(300)
		same.Update.UpdateID = int64(301 + n)
		changes = append(changes, same)
	}
	record(t, db, changes...)
	require.Equal(t, []int{100, 200, 300}, follow.next(t, 3))
	require.Equal(t, []int{301, 302, 303}, follow.next(t, 3))
	require.Equal(t, []int{304, 305, 400}, follow.next(t, 3))
	require.Equal(t, []int{500}, follow.next(t, 3))
	require.Empty(t, follow.next(t, 3))
	rows, _, err := db.Ledger().Tail(t.Context(), store.Cursor{}, 0, store.LedgerFilter{})
	require.NoError(t, err)
	require.Equal(t, []int{500}, numbersOf(rows))
}

func cursorIsValue(t *testing.T, db *store.DB) {
	record(t, db, arrivals(1)...)
	follow := tail{ledger: db.Ledger()}
	require.Equal(t, []int{1}, follow.next(t, 10))
	record(t, db, arrivals(2)...)
	again := follow
	require.Equal(t, []int{2}, follow.next(t, 10))
	require.Equal(t, []int{2}, again.next(t, 10))
}

func tailIsFiltered(t *testing.T, db *store.DB) {
	bySource, byKind, byChat := arrival(2), arrival(3), arrival(4)
	bySource.Update.Envelope.Source.Account = otherBot
	byKind.Update.Kind = "edited_message"
	byChat.Update.ChatID = 5
	filters := map[int]store.LedgerFilter{
		2: {Source: bySource.Update.Envelope.Source},
		3: {Kind: "edited_message"},
		4: {ChatID: 5},
	}
	follow := map[int]*tail{}
	for want, filter := range filters {
		follow[want] = &tail{ledger: db.Ledger(), filter: filter}
		require.Empty(t, follow[want].next(t, 10))
	}
	record(t, db, arrival(1), bySource, byKind, byChat)
	for want := range filters {
		require.Equal(t, []int{want}, follow[want].next(t, 10), "what came since")
	}
	record(t, db, arrivals(1000)...)
	for want, filter := range filters {
		begun := tail{ledger: db.Ledger(), filter: filter}
		require.Equal(t, []int{want}, begun.next(t, 1), "the latest, however old")
	}
	none := tail{ledger: db.Ledger(), filter: store.LedgerFilter{Source: bySource.Update.Envelope.Source, Kind: "edited_message"}}
	require.Empty(t, none.next(t, 10), "a row meets all fields or is left out")
}

func tailFollowsMigrations(t *testing.T, db *store.DB) {
	about := func(n int, chat content.ChatID) content.ChangeSet {
		change := arrival(n)
		change.Update.ChatID = chat
		return change
	}
	const before, later, other content.ChatID = -5, -1005, -6
	record(t, db, about(1, before), about(2, other))
	follow := map[content.ChatID]*tail{}
	for _, chat := range []content.ChatID{before, later, other} {
		follow[chat] = &tail{ledger: db.Ledger(), filter: store.LedgerFilter{ChatID: chat}}
	}
	require.Equal(t, []int{1}, follow[before].next(t, 10))
	migration := about(3, before)
	migration.ChatAliases = []content.ChatAlias{{ChatID: before, MigratedToChatID: later, Date: sent}}
	record(t, db, migration, about(4, later))
	require.Equal(t, []int{3, 4}, follow[before].next(t, 10), "a tail follows the chat from the migration on")
	require.Equal(t, []int{1, 3, 4}, follow[later].next(t, 10))
	require.Equal(t, []int{2}, follow[other].next(t, 10))
}

func filteredTailMovesOn(t *testing.T, db *store.DB) {
	edited := func(n int) content.ChangeSet {
		change := arrival(n)
		change.Update.Kind = "edited_message"
		return change
	}
	record(t, db, edited(0))
	follow := tail{ledger: db.Ledger(), filter: store.LedgerFilter{Kind: "edited_message"}}
	require.Equal(t, []int{0}, follow.next(t, 10))
	record(t, db, arrivals(600)...)
	require.Empty(t, follow.next(t, 10))
	record(t, db, edited(470), edited(490))
	require.Equal(t, []int{490}, follow.next(t, 10))
}

func tailSurvivesWrongClocks(t *testing.T, db *store.DB) {
	at := func(n int, when time.Time) content.ChangeSet {
		change := update(int64(n))
		change.Update.Envelope.ReceivedAt = when
		return change
	}
	now := time.Now()
	record(t, db, at(1, now.Add(-time.Second)), at(2, now.Add(time.Hour)))
	follow := tail{ledger: db.Ledger()}
	require.Equal(t, []int{1, 2}, follow.next(t, 10))
	record(t, db, at(3, now.Add(-2*time.Second)))
	require.Equal(t, []int{3}, follow.next(t, 10))
	record(t, db, at(4, now.Add(-3*time.Second)), at(5, now.Add(2*time.Hour)))
	require.Equal(t, []int{4, 5}, follow.next(t, 10))
	require.Empty(t, follow.next(t, 10))
}

func tailBesideWriters(t *testing.T, db *store.DB) {
	const writers, batches, size = 4, 12, 10
	record(t, db, arrivals(0)...)
	follow := tail{ledger: db.Ledger()}
	require.Equal(t, []int{0}, follow.next(t, 10))

	var writing atomic.Int64
	writing.Store(writers)
	group, ctx := errgroup.WithContext(t.Context())
	for w := range writers {
		group.Go(func() error {
			defer writing.Add(-1)
			for b := range batches {
				var batch content.Batch
				for i := range size {
					// Each batch is received a second after the one before it, give or take a minute.
					change := update(int64(1 + (w*batches+b)*size + i))
					offset := time.Duration(b)*time.Second + rand.N(time.Minute)
					change.Update.Envelope.ReceivedAt = received.Add(offset)
					batch.Changes = append(batch.Changes, change)
				}
				if _, err := db.Archive().Apply(ctx, batch); err != nil {
					return err
				}
			}
			return nil
		})
	}
	var seen []int
	for last := false; !last; {
		last = writing.Load() == 0
		for {
			numbers := follow.next(t, 25)
			seen = append(seen, numbers...)
			if len(numbers) < 25 {
				break
			}
		}
	}
	require.NoError(t, group.Wait())
	slices.Sort(seen)
	require.Len(t, seen, writers*batches*size)
	require.Len(t, slices.Compact(seen), writers*batches*size)
}

func updateIsShown(t *testing.T, db *store.DB) {
	change := arrival(7)
	raw := []byte("\x00\xff'\\u0000\xed\xa0\x80\"")
	change.Update.Envelope.Raw, change.Update.Hash = raw, ingest.HashOf(raw)
	change.Update.Envelope.Request = []byte{0, 0xff}
	change.Update.Envelope.Origin, change.Update.Envelope.Format, change.Update.Envelope.Layer = ingest.Replay, ingest.MTProtoTL, 214
	record(t, db, arrival(6), change, arrival(8))
	want := []store.LedgerRow{{
		Source: change.Update.Envelope.Source, UpdateID: 7, Hash: change.Update.Hash, ReceivedAt: change.Update.Envelope.ReceivedAt,
		Kind: "message", ChatID: someChat, Origin: ingest.Replay, Format: ingest.MTProtoTL, Layer: 214, NormaliserVersion: 1,
		SizeBytes: len(raw), Request: []byte{0, 0xff}, Payload: raw,
	}}
	for _, source := range []ingest.Source{change.Update.Envelope.Source, {}} {
		rows, err := db.Ledger().Show(t.Context(), source, 7)
		require.NoError(t, err)
		require.Equal(t, want, rows)
	}
}

func everyRowIsShown(t *testing.T, db *store.DB) {
	day := func(n int, account int64, raw string) content.ChangeSet {
		change := update(7)
		change.Update.Envelope.Source.Account = account
		change.Update.Envelope.ReceivedAt = received.AddDate(0, 0, n)
		change.Update.Envelope.Raw, change.Update.Hash = []byte(raw), ingest.HashOf([]byte(raw))
		return change
	}
	record(t, db, day(40, someBot, "other bytes"), day(0, someBot, "one"), day(3, someBot, "one"), day(2, otherBot, "elsewhere"))
	payloads := func(source ingest.Source) (texts []string) {
		rows, err := db.Ledger().Show(t.Context(), source, 7)
		require.NoError(t, err)
		for i := range rows {
			texts = append(texts, fmt.Sprintf("%s on day %.0f", rows[i].Payload, rows[i].ReceivedAt.Sub(received).Hours()/24))
		}
		return texts
	}
	of := func(account int64) ingest.Source { return ingest.Source{Transport: ingest.BotAPI, Account: account} }
	require.Equal(t, []string{"one on day 0", "one on day 3", "other bytes on day 40"}, payloads(of(someBot)))
	require.Equal(t, []string{"elsewhere on day 2"}, payloads(of(otherBot)))
	require.Len(t, payloads(ingest.Source{}), 4)
}

func updateIsNotFound(t *testing.T, db *store.DB) {
	source := ingest.Source{Transport: ingest.BotAPI, Account: someBot}
	_, err := db.Ledger().Show(t.Context(), source, 7)
	require.Equal(t, fault.NotFound, fault.ClassOf(err), "of an empty ledger")
	record(t, db, arrivals(6)...)
	_, err = db.Ledger().Show(t.Context(), source, 7)
	require.Equal(t, fault.NotFound, fault.ClassOf(err))
	require.ErrorContains(t, err, "update 7 of botapi:7000000001")
	_, err = db.Ledger().Show(t.Context(), ingest.Source{}, 7)
	require.Equal(t, fault.NotFound, fault.ClassOf(err))
	_, err = db.Ledger().Show(t.Context(), ingest.Source{Transport: ingest.BotAPI, Account: otherBot}, 6)
	require.Equal(t, fault.NotFound, fault.ClassOf(err))
}
