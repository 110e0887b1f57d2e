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

// DeadLetterMoves checks how updates that could not be applied are sent back and dropped, and what remains on record.
func DeadLetterMoves(t *testing.T, open Open) {
	behaviours{
		"retried letters are in the spool and nowhere else":   lettersAreRetried,
		"letters are retried in batches of bounded size":      lettersGoInBatches,
		"a retry that fails moves nothing":                    retryIsWhole,
		"a letter that many retry is moved once":              letterIsRetriedOnce,
		"a letter that one retries is out of another's reach": letterIsOutOfReach,
		"a letter that is not there moves nothing":            absentLetterIsNotRetried,
		"dropped letters are gone, and the others stay":       lettersAreDropped,
		"letters are dropped all or none":                     dropIsWhole,
		"a filter drops as many as expected or none":          dropWantsTheNumber,
		"many letters are dropped at once":                    manyAreDropped,
		"a letter that many drop is dropped once":             letterIsDroppedOnce,
		"every move is on record, with who, when and why":     movesAreRecorded,
		"the record is filtered, the latest first":            movesAreFiltered,
		"an update that dies again is traced":                 movesAreTraced,
	}.check(t, open)
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

// retry sends one batch back and returns how many letters it had.
func retry(t *testing.T, d *store.DeadLetters, filter store.DeadLetterFilter) int {
	t.Helper()
	moved, err := d.Retry(t.Context(), filter, encode)
	require.NoError(t, err)
	return moved
}

// buryMany writes letters at once, and so in no particular order.
func buryMany(t *testing.T, db *store.DB, letters ...ingest.DeadLetter) {
	t.Helper()
	outcome, err := db.Archive().Apply(t.Context(), content.Batch{DeadLetters: letters})
	require.NoError(t, err)
	require.Equal(t, len(letters), outcome.DeadLetters)
}

// lettersTo returns the letters from the first to the n-th.
func lettersTo(n int) (letters []ingest.DeadLetter) {
	for i := range n {
		letters = append(letters, letter(i+1))
	}
	return letters
}

func listMoves(t *testing.T, db *store.DB, filter store.DeadLetterFilter, limit int) []store.DeadLetterMove {
	t.Helper()
	moves, err := db.DeadLetters().Moves(t.Context(), filter, limit)
	require.NoError(t, err)
	return moves
}

func lettersAreRetried(t *testing.T, db *store.DB) {
	exact := letter(9)
	exact.Envelope.Raw, exact.Envelope.Request = []byte("\x00\xff{"), []byte{0}
	buried := bury(t, db, exact, letter(2), letter(3))
	require.Equal(t, 2, retry(t, db.DeadLetters(), store.DeadLetterFilter{IDs: idsOfLetters(buried[:2])}))

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
	letters := lettersTo(many)
	for n := range 5 {
		large := letter(many + n + 1)
		large.Envelope.Raw = []byte(strings.Repeat(string(rune('a'+n)), []int{100, 100, 100, 300, 1}[n]<<10))
		letters = append(letters, large)
	}
	buryMany(t, db, letters...)
	calls := 0
	for moved := 0; moved < many+5; calls++ {
		n := retry(t, db.DeadLetters(), store.DeadLetterFilter{})
		require.Positive(t, n)
		moved += n
		require.Len(t, listLetters(t, db, store.DeadLetterFilter{}, 100), many+5-moved)
	}
	require.Zero(t, retry(t, db.DeadLetters(), store.DeadLetterFilter{}))

	envelopes, batches := spooled(t, db)
	require.Len(t, envelopes, many+5)
	require.Len(t, batches, calls, "a call moves one batch")
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
	bury(t, db, letter(1), letter(2))
	failure := errors.New("no room")
	moved, err := db.DeadLetters().Retry(t.Context(), store.DeadLetterFilter{}, func([]ingest.Envelope) ([]byte, error) {
		return nil, failure
	})
	require.ErrorIs(t, err, failure)
	require.Zero(t, moved)
	// A batch of no bytes at all is refused by the spool.
	moved, err = db.DeadLetters().Retry(t.Context(), store.DeadLetterFilter{}, func([]ingest.Envelope) ([]byte, error) {
		return nil, nil
	})
	require.Error(t, err)
	require.Zero(t, moved)
	require.Len(t, listLetters(t, db, store.DeadLetterFilter{}, 10), 2)
	require.Empty(t, listMoves(t, db, store.DeadLetterFilter{}, 10))
	envelopes, _ := spooled(t, db)
	require.Empty(t, envelopes)
}

func letterIsRetriedOnce(t *testing.T, db *store.DB) {
	const letters, callers = 200, 4
	buryMany(t, db, lettersTo(letters)...)
	moved := make([]int, callers)
	group, ctx := errgroup.WithContext(t.Context())
	for i := range callers {
		group.Go(func() error {
			for {
				n, err := db.DeadLetters().Retry(ctx, store.DeadLetterFilter{Class: "syntax"}, encode)
				if err != nil || n == 0 {
					return err
				}
				moved[i] += n
			}
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
	require.Len(t, listMoves(t, db, store.DeadLetterFilter{}, 2*letters), letters)
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

func absentLetterIsNotRetried(t *testing.T, db *store.DB) {
	bury(t, db, letter(1))
	require.Zero(t, retry(t, db.DeadLetters(), store.DeadLetterFilter{IDs: []int64{4711}}))
	require.Zero(t, retry(t, db.DeadLetters(), store.DeadLetterFilter{IDs: []int64{}}))
	require.Empty(t, listMoves(t, db, store.DeadLetterFilter{}, 10))
}

func lettersAreDropped(t *testing.T, db *store.DB) {
	buried := bury(t, db, letter(1), letter(2), letter(3))
	require.NoError(t, db.DeadLetters().Drop(t.Context(), store.DeadLetterFilter{IDs: []int64{buried[0].ID, buried[2].ID}}, 2))
	require.Equal(t, []int64{buried[1].ID}, idsOfLetters(listLetters(t, db, store.DeadLetterFilter{}, 10)))
	envelopes, _ := spooled(t, db)
	require.Empty(t, envelopes)
}

func dropIsWhole(t *testing.T, db *store.DB) {
	buried := bury(t, db, letter(1), letter(2))
	for _, ids := range [][]int64{{buried[0].ID, 4711, buried[1].ID, 4712}, {4711, 4712}} {
		err := db.DeadLetters().Drop(t.Context(), store.DeadLetterFilter{IDs: ids}, len(ids))
		require.Equal(t, fault.NotFound, fault.ClassOf(err))
		require.ErrorContains(t, err, "there is no letter 4711, 4712; nothing is dropped")
	}
	require.Error(t, db.DeadLetters().Drop(t.Context(), store.DeadLetterFilter{IDs: []int64{}}, 1))
	require.Len(t, listLetters(t, db, store.DeadLetterFilter{}, 10), 2)
	require.Empty(t, listMoves(t, db, store.DeadLetterFilter{}, 10))
}

func dropWantsTheNumber(t *testing.T, db *store.DB) {
	other := letter(4)
	other.Class = "panic"
	buried := bury(t, db, letter(1), letter(2), letter(3), other)
	filter := store.DeadLetterFilter{Class: "syntax"}
	for _, expected := range []int{0, 2, 4} {
		err := db.DeadLetters().Drop(t.Context(), filter, expected)
		require.Equal(t, fault.Permanent, fault.ClassOf(err))
		require.ErrorContains(t, err, fmt.Sprintf("there are 3, and not %d; nothing is dropped", expected))
	}
	require.Len(t, listLetters(t, db, store.DeadLetterFilter{}, 10), 4)
	require.Empty(t, listMoves(t, db, store.DeadLetterFilter{}, 10))
	require.NoError(t, db.DeadLetters().Drop(t.Context(), filter, 3))
	require.Equal(t, []int64{buried[3].ID}, idsOfLetters(listLetters(t, db, store.DeadLetterFilter{}, 10)))
}

func manyAreDropped(t *testing.T, db *store.DB) {
	const many = 2500
	buryMany(t, db, lettersTo(many)...)
	require.NoError(t, db.DeadLetters().Drop(t.Context(), store.DeadLetterFilter{Class: "syntax"}, many))
	require.Empty(t, listLetters(t, db, store.DeadLetterFilter{}, 10))
	require.Len(t, listMoves(t, db, store.DeadLetterFilter{}, 2*many), many)
}

func letterIsDroppedOnce(t *testing.T, db *store.DB) {
	// As many letters as keep a drop busy for a while.
	const callers, letters = 8, 1500
	buryMany(t, db, lettersTo(letters)...)
	ids := idsOfLetters(listLetters(t, db, store.DeadLetterFilter{}, letters))
	errs, begin := make(chan error, callers), make(chan struct{})
	var connected errgroup.Group
	for range callers {
		connected.Go(func() error { return db.Ping(t.Context()) })
		go func() {
			<-begin
			errs <- db.DeadLetters().Drop(t.Context(), store.DeadLetterFilter{IDs: ids}, len(ids))
		}()
	}
	require.NoError(t, connected.Wait())
	close(begin)
	dropped := 0
	for range callers {
		err := <-errs
		if err == nil {
			dropped++
			continue
		}
		require.Equal(t, fault.NotFound, fault.ClassOf(err), err)
	}
	require.Equal(t, 1, dropped)
	require.Len(t, listMoves(t, db, store.DeadLetterFilter{}, 2*letters), letters)
}

// withoutTime checks that moves were made just now, one after the other, and returns them without the time.
func withoutTime(t *testing.T, moves []store.DeadLetterMove) []store.DeadLetterMove {
	t.Helper()
	for i := range moves {
		require.WithinDuration(t, time.Now(), moves[i].MovedAt, time.Hour)
		require.Equal(t, time.UTC, moves[i].MovedAt.Location())
		require.True(t, i == 0 || !moves[i].MovedAt.After(moves[i-1].MovedAt), "the latest first")
	}
	for i := range moves {
		moves[i].MovedAt = time.Time{}
	}
	return moves
}

func movesAreRecorded(t *testing.T, db *store.DB) {
	strange := letter(2)
	strange.Envelope.Source = ingest.Source{Transport: ingest.MTProto, Account: 9_000_000_009}
	strange.NormaliserVersion, strange.Class = 0, "panic"
	buried := bury(t, db, letter(1), strange, letter(3))
	ann := store.Mover{Who: "ann@harbour", Reason: "a newer normaliser\x01 'is' there"}
	require.Equal(t, 1, retry(t, db.DeadLetters().By(ann), store.DeadLetterFilter{IDs: idsOfLetters(buried[:1])}))
	bob := store.Mover{Who: "bob"}
	require.NoError(t, db.DeadLetters().By(bob).Drop(t.Context(), store.DeadLetterFilter{IDs: idsOfLetters(buried[1:2])}, 1))
	require.Equal(t, 1, retry(t, db.DeadLetters(), store.DeadLetterFilter{}))

	record := func(kind store.DeadLetterMoveKind, by store.Mover, l store.DeadLetter) store.DeadLetterMove {
		return store.DeadLetterMove{
			Kind: kind, Mover: by, LetterID: l.ID, Source: l.Envelope.Source, UpdateID: l.UpdateID,
			Hash: ingest.HashOf(l.Envelope.Raw), Class: l.Class, NormaliserVersion: l.NormaliserVersion, DiedAt: l.DiedAt,
		}
	}
	require.Equal(t, []store.DeadLetterMove{
		record(store.Retried, store.Mover{}, buried[2]),
		record(store.Dropped, bob, buried[1]),
		record(store.Retried, ann, buried[0]),
	}, withoutTime(t, listMoves(t, db, store.DeadLetterFilter{}, 10)))
}

// lettersOf returns the numbers of the letters that moves moved.
func lettersOf(moves []store.DeadLetterMove) []int64 {
	ids := make([]int64, len(moves))
	for i := range moves {
		ids[i] = moves[i].LetterID
	}
	return ids
}

func movesAreFiltered(t *testing.T, db *store.DB) {
	other := letter(2)
	other.Class, other.NormaliserVersion = "panic", 0
	elsewhere := letter(3)
	elsewhere.Envelope.Source.Account = otherBot
	ids := idsOfLetters(bury(t, db, letter(1), other, elsewhere))
	require.Equal(t, 3, retry(t, db.DeadLetters(), store.DeadLetterFilter{}))
	none := uint16(0)
	for name, c := range map[string]struct {
		filter store.DeadLetterFilter
		limit  int
		want   []int64
	}{
		"all":     {store.DeadLetterFilter{}, 10, []int64{ids[2], ids[1], ids[0]}},
		"limit":   {store.DeadLetterFilter{}, 2, []int64{ids[2], ids[1]}},
		"class":   {store.DeadLetterFilter{Class: "syntax"}, 10, []int64{ids[2], ids[0]}},
		"source":  {store.DeadLetterFilter{Source: other.Envelope.Source}, 10, []int64{ids[1], ids[0]}},
		"version": {store.DeadLetterFilter{NormaliserVersion: &none}, 10, []int64{ids[1]}},
		"ids":     {store.DeadLetterFilter{IDs: []int64{ids[0], 4711}}, 10, []int64{ids[0]}},
		"nothing": {store.DeadLetterFilter{IDs: []int64{4711}}, 10, []int64{}},
	} {
		require.Equal(t, c.want, lettersOf(listMoves(t, db, c.filter, c.limit)), name)
	}
}

func movesAreTraced(t *testing.T, db *store.DB) {
	// The same bytes of another bot are another update.
	twin := letter(1)
	twin.Envelope.Source.Account = otherBot
	twins := bury(t, db, twin)
	require.Equal(t, 1, retry(t, db.DeadLetters(), store.DeadLetterFilter{}))

	var ids []int64
	for range 3 {
		ids = append(ids, bury(t, db, letter(1))[0].ID)
		require.True(t, slices.IsSorted(ids), "a number is never given twice")
		if len(ids) < 3 {
			require.Equal(t, 1, retry(t, db.DeadLetters(), store.DeadLetterFilter{}))
		}
	}
	for _, id := range ids {
		moves := listMoves(t, db, store.DeadLetterFilter{IDs: []int64{id}}, 10)
		require.Equal(t, []int64{ids[1], ids[0]}, lettersOf(moves), "by any of its letters")
		for _, m := range moves {
			require.Equal(t, ids[2], m.OpenLetterID)
		}
	}
	require.Zero(t, listMoves(t, db, store.DeadLetterFilter{IDs: idsOfLetters(twins)}, 10)[0].OpenLetterID)
	require.NoError(t, db.DeadLetters().Drop(t.Context(), store.DeadLetterFilter{IDs: ids[2:]}, 1))
	for _, m := range listMoves(t, db, store.DeadLetterFilter{}, 10) {
		require.Zero(t, m.OpenLetterID, "it waits nowhere")
	}
}
