package storetest

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tgfleet/tgfleet/internal/content"
	"github.com/tgfleet/tgfleet/internal/fault"
	"github.com/tgfleet/tgfleet/internal/ingest"
	"github.com/tgfleet/tgfleet/internal/store"
)

// DeadLetters checks the repository of the updates that could not be applied.
func DeadLetters(t *testing.T, open Open) {
	behaviours{
		"a letter comes back with its exact bytes":             letterIsKept,
		"a letter of no bytes is a letter":                     letterMayBeEmpty,
		"the list has the latest letters first, without bytes": lettersAreListed,
		"a filter means the letters that meet all of it":       lettersAreFiltered,
		"the summary groups by cause and normaliser":           lettersAreSummedUp,
		"letters that are named and not there are told":        lettersAreMissed,
		"a letter that is not there is not found":              letterIsNotFound,
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
	require.Equal(t, 1, retry(t, db.DeadLetters(), store.DeadLetterFilter{}))
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
	elsewhere.NormaliserVersion = 0
	buried := bury(t, db, letter(1), other, elsewhere)
	ids := idsOfLetters(buried)
	none, first := uint16(0), uint16(1)
	for name, c := range map[string]struct {
		filter store.DeadLetterFilter
		want   []int64
	}{
		"all":           {store.DeadLetterFilter{}, []int64{ids[2], ids[1], ids[0]}},
		"class":         {store.DeadLetterFilter{Class: "syntax"}, []int64{ids[2], ids[0]}},
		"source":        {store.DeadLetterFilter{Source: other.Envelope.Source}, []int64{ids[1], ids[0]}},
		"class, source": {store.DeadLetterFilter{Class: "syntax", Source: other.Envelope.Source}, []int64{ids[0]}},
		"version":       {store.DeadLetterFilter{NormaliserVersion: &first}, []int64{ids[1], ids[0]}},
		"no version":    {store.DeadLetterFilter{NormaliserVersion: &none}, []int64{ids[2]}},
		"ids":           {store.DeadLetterFilter{IDs: []int64{ids[0], ids[1]}}, []int64{ids[1], ids[0]}},
		"ids, class":    {store.DeadLetterFilter{IDs: ids[1:2], Class: "panic"}, []int64{ids[1]}},
		"no ids":        {store.DeadLetterFilter{IDs: []int64{}}, []int64{}},
	} {
		require.Equal(t, c.want, idsOfLetters(listLetters(t, db, c.filter, 10)), name)
		slices.Reverse(c.want)
		found, err := db.DeadLetters().IDs(t.Context(), c.filter)
		require.NoError(t, err, name)
		require.Equal(t, c.want, found, name)
	}
}

func lettersAreSummedUp(t *testing.T, db *store.DB) {
	summary := func(filter store.DeadLetterFilter) []store.DeadLetterGroup {
		groups, err := db.DeadLetters().Summary(t.Context(), filter)
		require.NoError(t, err)
		return groups
	}
	open := func() map[string]int {
		classes, err := db.DeadLetters().Open(t.Context())
		require.NoError(t, err)
		return classes
	}
	require.Empty(t, summary(store.DeadLetterFilter{}))
	require.Empty(t, open())

	of := func(n int, class string, normaliser uint16) ingest.DeadLetter {
		l := letter(n)
		l.Class, l.NormaliserVersion, l.Error = class, normaliser, fmt.Sprint("error ", n)
		return l
	}
	bury(t, db, of(5, "panic", 1), of(2, "panic", 1), of(9, "panic", 2), of(4, "syntax", 1), of(8, "syntax", 1), of(6, "syntax", 1))
	at := func(n int) time.Time { return letter(n).DiedAt }
	want := []store.DeadLetterGroup{
		{Class: "syntax", NormaliserVersion: 1, Letters: 3, Oldest: at(4), Newest: at(8), Example: "error 6"},
		{Class: "panic", NormaliserVersion: 1, Letters: 2, Oldest: at(2), Newest: at(5), Example: "error 2"},
		{Class: "panic", NormaliserVersion: 2, Letters: 1, Oldest: at(9), Newest: at(9), Example: "error 9"},
	}
	require.Equal(t, want, summary(store.DeadLetterFilter{}))
	require.Equal(t, want[1:], summary(store.DeadLetterFilter{Class: "panic"}))
	require.Equal(t, map[string]int{"syntax": 3, "panic": 3}, open())
}

func lettersAreMissed(t *testing.T, db *store.DB) {
	buried := bury(t, db, letter(1), letter(2))
	_, err := db.DeadLetters().IDs(t.Context(), store.DeadLetterFilter{IDs: []int64{4711, buried[0].ID, 42}})
	require.Equal(t, fault.NotFound, fault.ClassOf(err))
	require.ErrorContains(t, err, "there is no letter 4711, 42")
	_, err = db.DeadLetters().IDs(t.Context(), store.DeadLetterFilter{IDs: idsOfLetters(buried), Class: "panic"})
	require.ErrorContains(t, err, fmt.Sprintf("there is no letter %d, %d", buried[0].ID, buried[1].ID))

	var many []int64
	for id := range int64(25) {
		many = append(many, 1000+id)
	}
	_, err = db.DeadLetters().IDs(t.Context(), store.DeadLetterFilter{IDs: many})
	require.ErrorContains(t, err, "1008, 1009 and 15 more")
}

func letterIsNotFound(t *testing.T, db *store.DB) {
	_, err := db.DeadLetters().Get(t.Context(), 4711)
	require.Equal(t, fault.NotFound, fault.ClassOf(err))
	require.ErrorContains(t, err, "4711")
}
