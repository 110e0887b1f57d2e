package storetest

import (
	"bytes"
	"context"
	"encoding/gob"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/tgfleet/tgfleet/internal/content"
	"github.com/tgfleet/tgfleet/internal/fault"
	"github.com/tgfleet/tgfleet/internal/ingest"
	"github.com/tgfleet/tgfleet/internal/store"
)

// DeadLetters checks the repository of the updates that could not be applied.
func DeadLetters(t *testing.T, open Open) {
	behaviours{
		"a letter comes back with its exact bytes":                   letterIsKept,
		"a letter of no bytes is a letter":                           letterMayBeEmpty,
		"the list has the latest letters first, without bytes":       lettersAreListed,
		"a filter means the letters that meet all of it":             lettersAreFiltered,
		"the summary groups by cause and normaliser":                 lettersAreSummedUp,
		"retried letters are in the spool and nowhere else":          lettersAreRetried,
		"retried letters go in batches of bounded size":              lettersGoInBatches,
		"a retry that fails half way moves nothing":                  retryIsWhole,
		"a letter that many retry is moved once":                     letterIsRetriedOnce,
		"a letter that one retries is out of another's reach":        letterIsOutOfReach,
		"a retried update may die again":                             letterDiesAgain,
		"dropped letters are gone, and the others stay":              lettersAreDropped,
		"a letter that is not there is not found, and moves nothing": letterIsNotFound,
	}.check(t, open)
}

// letter returns the n-th letter: the later, the greater n.
func letter(n int) ingest.DeadLetter {
	return ingest.DeadLetter{
		Envelope: ingest.Envelope{
			Source:     ingest.Source{Transport: ingest.BotAPI, Account: someBot},
			ReceivedAt: received.Add(time.Duration(n) * time.Second), Origin: ingest.Live, Format: ingest.BotAPIJSON,
			Raw: fmt.Appendf(nil, `{"update_id":%d`, n),
		},
		UpdateID: int64(n), Class: "syntax", Error: "unexpected end", NormaliserVersion: 1,
		DiedAt: received.Add(time.Duration(n) * time.Minute),
	}
}

// bury writes letters and returns them with their numbers, in their order.
func bury(t *testing.T, db *store.DB, letters ...ingest.DeadLetter) []store.DeadLetter {
	t.Helper()
	buried := make([]store.DeadLetter, len(letters))
	for i, letter := range letters {
		outcome, err := db.Archive().Apply(t.Context(), content.Batch{DeadLetters: []ingest.DeadLetter{letter}})
		require.NoError(t, err)
		require.Equal(t, 1, outcome.DeadLetters)
		buried[i] = store.DeadLetter{ID: listLetters(t, db, store.DeadLetterFilter{}, 1)[0].ID, DeadLetter: letter}
	}
	return buried
}

func listLetters(t *testing.T, db *store.DB, filter store.DeadLetterFilter, limit int) []store.DeadLetter {
	t.Helper()
	letters, err := db.DeadLetters().List(t.Context(), filter, limit)
	require.NoError(t, err)
	return letters
}

func idsOfLetters(letters []store.DeadLetter) []int64 {
	ids := make([]int64, len(letters))
	for i := range letters {
		ids[i] = letters[i].ID
	}
	return ids
}

func encode(envelopes []ingest.Envelope) ([]byte, error) {
	var payload bytes.Buffer
	err := gob.NewEncoder(&payload).Encode(envelopes)
	return payload.Bytes(), err
}

func decode(t *testing.T, batch ingest.Spooled) (envelopes []ingest.Envelope) {
	t.Helper()
	require.NoError(t, gob.NewDecoder(bytes.NewReader(batch.Payload)).Decode(&envelopes))
	require.Len(t, envelopes, batch.Updates)
	return envelopes
}

// spooled returns the envelopes of all batches in the spool that are due, and requires that each batch tells the truth about itself.
func spooled(t *testing.T, db *store.DB) (envelopes []ingest.Envelope, batches []ingest.Spooled) {
	t.Helper()
	batches = claim(t, db.Spool(), 10_000, late)
	for _, batch := range batches {
		some := decode(t, batch)
		oldest := slices.MinFunc(some, func(a, b ingest.Envelope) int { return a.ReceivedAt.Compare(b.ReceivedAt) })
		require.Equal(t, oldest.ReceivedAt, batch.OldestAt)
		require.Zero(t, batch.Attempts)
		envelopes = append(envelopes, some...)
	}
	return envelopes, batches
}

func letterIsKept(t *testing.T, db *store.DB) {
	want := letter(7)
	want.Envelope.Source = ingest.Source{Transport: ingest.MTProto, Account: 9_000_000_009}
	want.Envelope.Origin, want.Envelope.Format, want.Envelope.Layer = ingest.Backfill, ingest.MTProtoTL, 214
	want.Envelope.Request = []byte{0, 1, 2, 0xff}
	want.Envelope.Raw = []byte("\x00\xff'\\u0000\xed\xa0\x80\"")
	want.NormaliserVersion = 65535
	buried := bury(t, db, letter(1), want, letter(3))

	got, err := db.DeadLetters().Get(t.Context(), buried[1].ID)
	require.NoError(t, err)
	require.Equal(t, buried[1], got)
}

func letterMayBeEmpty(t *testing.T, db *store.DB) {
	empty := letter(1)
	empty.Envelope.Raw = nil
	buried := bury(t, db, empty)
	got, err := db.DeadLetters().Get(t.Context(), buried[0].ID)
	require.NoError(t, err)
	require.Empty(t, got.Envelope.Raw)
	moved, err := db.DeadLetters().Retry(t.Context(), store.DeadLetterFilter{}, encode)
	require.NoError(t, err)
	require.Equal(t, 1, moved)
}

func lettersAreListed(t *testing.T, db *store.DB) {
	require.Empty(t, listLetters(t, db, store.DeadLetterFilter{}, 10))
	withRequest := letter(2)
	withRequest.Envelope.Request = []byte("request")
	buried := bury(t, db, letter(1), withRequest, letter(3))
	want := []store.DeadLetter{buried[2], buried[1]}
	for i := range want {
		want[i].Envelope.Raw, want[i].Envelope.Request = nil, nil
	}
	require.Equal(t, want, listLetters(t, db, store.DeadLetterFilter{}, 2))
}

func lettersAreFiltered(t *testing.T, db *store.DB) {
	other := letter(2)
	other.Class = "panic"
	elsewhere := letter(3)
	elsewhere.Envelope.Source.Account = otherBot
	buried := bury(t, db, letter(1), other, elsewhere)
	ids := idsOfLetters(buried)
	for name, c := range map[string]struct {
		filter store.DeadLetterFilter
		want   []int64
	}{
		"all":           {store.DeadLetterFilter{}, []int64{ids[2], ids[1], ids[0]}},
		"class":         {store.DeadLetterFilter{Class: "syntax"}, []int64{ids[2], ids[0]}},
		"source":        {store.DeadLetterFilter{Source: other.Envelope.Source}, []int64{ids[1], ids[0]}},
		"class, source": {store.DeadLetterFilter{Class: "syntax", Source: other.Envelope.Source}, []int64{ids[0]}},
		"ids":           {store.DeadLetterFilter{IDs: []int64{ids[0], ids[1], 4711}}, []int64{ids[1], ids[0]}},
		"ids, class":    {store.DeadLetterFilter{IDs: ids, Class: "panic"}, []int64{ids[1]}},
		"no ids":        {store.DeadLetterFilter{IDs: []int64{}}, []int64{}},
	} {
		require.Equal(t, c.want, idsOfLetters(listLetters(t, db, c.filter, 10)), name)
	}

	moved, err := db.DeadLetters().Retry(t.Context(), store.DeadLetterFilter{Class: "syntax", Source: other.Envelope.Source}, encode)
	require.NoError(t, err)
	require.Equal(t, 1, moved)
	require.Equal(t, []int64{ids[2], ids[1]}, idsOfLetters(listLetters(t, db, store.DeadLetterFilter{}, 10)))
}

func lettersAreSummedUp(t *testing.T, db *store.DB) {
	none, err := db.DeadLetters().Summary(t.Context())
	require.NoError(t, err)
	require.Empty(t, none)

	of := func(n int, class string, normaliser uint16) ingest.DeadLetter {
		l := letter(n)
		l.Class, l.NormaliserVersion = class, normaliser
		return l
	}
	bury(t, db, of(5, "panic", 1), of(2, "panic", 1), of(9, "panic", 2), of(4, "syntax", 1), of(8, "syntax", 1), of(6, "syntax", 1))
	groups, err := db.DeadLetters().Summary(t.Context())
	require.NoError(t, err)
	at := func(n int) time.Time { return letter(n).DiedAt }
	require.Equal(t, []store.DeadLetterGroup{
		{Class: "syntax", NormaliserVersion: 1, Letters: 3, Oldest: at(4), Newest: at(8)},
		{Class: "panic", NormaliserVersion: 1, Letters: 2, Oldest: at(2), Newest: at(5)},
		{Class: "panic", NormaliserVersion: 2, Letters: 1, Oldest: at(9), Newest: at(9)},
	}, groups)
}

func lettersAreRetried(t *testing.T, db *store.DB) {
	exact := letter(9)
	exact.Envelope.Raw, exact.Envelope.Request = []byte("\x00\xff{"), []byte{0}
	buried := bury(t, db, exact, letter(2), letter(3))
	moved, err := db.DeadLetters().Retry(t.Context(), store.DeadLetterFilter{IDs: idsOfLetters(buried[:2])}, encode)
	require.NoError(t, err)
	require.Equal(t, 2, moved)

	want := []ingest.Envelope{exact.Envelope, buried[1].Envelope}
	for i := range want {
		want[i].Origin = ingest.Replay
	}
	envelopes, batches := spooled(t, db)
	require.Equal(t, want, envelopes)
	require.Len(t, batches, 1)
	require.Equal(t, []int64{buried[2].ID}, idsOfLetters(listLetters(t, db, store.DeadLetterFilter{}, 10)))
}

func lettersGoInBatches(t *testing.T, db *store.DB) {
	const many = 70
	batch := content.Batch{}
	for n := range many {
		batch.DeadLetters = append(batch.DeadLetters, letter(n))
	}
	for n := range 5 {
		large := letter(many + n)
		large.Envelope.Raw = []byte(strings.Repeat(string(rune('a'+n)), []int{100, 100, 100, 300, 1}[n]<<10))
		batch.DeadLetters = append(batch.DeadLetters, large)
	}
	_, err := db.Archive().Apply(t.Context(), batch)
	require.NoError(t, err)
	moved, err := db.DeadLetters().Retry(t.Context(), store.DeadLetterFilter{}, encode)
	require.NoError(t, err)
	require.Equal(t, many+5, moved)

	envelopes, batches := spooled(t, db)
	require.Len(t, envelopes, many+5)
	ids := map[string]bool{}
	for _, env := range envelopes {
		ids[string(env.Raw)] = true
	}
	require.Len(t, ids, many+5)
	for _, b := range batches {
		require.LessOrEqual(t, b.Updates, 64)
		some := decode(t, b)
		sizeBytes := 0
		for _, env := range some {
			sizeBytes += len(env.Raw)
		}
		require.True(t, sizeBytes <= 256<<10 || len(some) == 1, "%d updates of %d bytes", len(some), sizeBytes)
	}
}

func retryIsWhole(t *testing.T, db *store.DB) {
	var letters []ingest.DeadLetter
	for n := range 66 {
		letters = append(letters, letter(n))
	}
	_, err := db.Archive().Apply(t.Context(), content.Batch{DeadLetters: letters})
	require.NoError(t, err)

	failure, calls := errors.New("no room"), 0
	moved, err := db.DeadLetters().Retry(t.Context(), store.DeadLetterFilter{}, func(envelopes []ingest.Envelope) ([]byte, error) {
		calls++
		if calls == 2 {
			return nil, failure
		}
		return encode(envelopes)
	})
	require.ErrorIs(t, err, failure)
	require.Zero(t, moved)
	require.Equal(t, 2, calls)
	require.Len(t, listLetters(t, db, store.DeadLetterFilter{}, 100), 66)
	envelopes, _ := spooled(t, db)
	require.Empty(t, envelopes)
}

func letterIsRetriedOnce(t *testing.T, db *store.DB) {
	const letters, callers = 200, 4
	batch := content.Batch{}
	for n := range letters {
		batch.DeadLetters = append(batch.DeadLetters, letter(n))
	}
	_, err := db.Archive().Apply(t.Context(), batch)
	require.NoError(t, err)

	moved := make([]int, callers)
	group, ctx := errgroup.WithContext(t.Context())
	for i := range callers {
		group.Go(func() (err error) {
			moved[i], err = db.DeadLetters().Retry(ctx, store.DeadLetterFilter{Class: "syntax"}, encode)
			return err
		})
	}
	require.NoError(t, group.Wait())
	sum := 0
	for _, n := range moved {
		sum += n
	}
	require.Equal(t, letters, sum)
	envelopes, _ := spooled(t, db)
	require.Len(t, envelopes, letters)
}

func letterIsOutOfReach(t *testing.T, db *store.DB) {
	bury(t, db, letter(1), letter(2))
	moved, err := db.DeadLetters().Retry(t.Context(), store.DeadLetterFilter{}, func(envelopes []ingest.Envelope) ([]byte, error) {
		// The other one waits for this transaction, and here in vain.
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		meanwhile, err := db.DeadLetters().Retry(ctx, store.DeadLetterFilter{}, encode)
		require.Equal(t, fault.Transient, fault.ClassOf(err))
		require.Zero(t, meanwhile)
		return encode(envelopes)
	})
	require.NoError(t, err)
	require.Equal(t, 2, moved)
	envelopes, _ := spooled(t, db)
	require.Len(t, envelopes, 2)
}

func letterDiesAgain(t *testing.T, db *store.DB) {
	first := bury(t, db, letter(1))
	moved, err := db.DeadLetters().Retry(t.Context(), store.DeadLetterFilter{}, encode)
	require.NoError(t, err)
	require.Equal(t, 1, moved)
	again := bury(t, db, letter(1))
	require.Greater(t, again[0].ID, first[0].ID, "a number is never given twice")
}

func lettersAreDropped(t *testing.T, db *store.DB) {
	buried := bury(t, db, letter(1), letter(2), letter(3))
	dropped, err := db.DeadLetters().Drop(t.Context(), nil)
	require.NoError(t, err)
	require.Zero(t, dropped)
	dropped, err = db.DeadLetters().Drop(t.Context(), []int64{buried[0].ID, buried[2].ID, 4711})
	require.NoError(t, err)
	require.Equal(t, 2, dropped)
	require.Equal(t, []int64{buried[1].ID}, idsOfLetters(listLetters(t, db, store.DeadLetterFilter{}, 10)))
	envelopes, _ := spooled(t, db)
	require.Empty(t, envelopes)
}

func letterIsNotFound(t *testing.T, db *store.DB) {
	bury(t, db, letter(1))
	_, err := db.DeadLetters().Get(t.Context(), 4711)
	require.Equal(t, fault.NotFound, fault.ClassOf(err))
	require.ErrorContains(t, err, "4711")
	moved, err := db.DeadLetters().Retry(t.Context(), store.DeadLetterFilter{IDs: []int64{4711}}, encode)
	require.NoError(t, err)
	require.Zero(t, moved)
}
