package storetest

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tgfleet/tgfleet/internal/account"
	"github.com/tgfleet/tgfleet/internal/content"
	"github.com/tgfleet/tgfleet/internal/ingest"
	"github.com/tgfleet/tgfleet/internal/store"
)

// Sealed checks the repository of what is stored sealed.
func Sealed(t *testing.T, open Open) {
	behaviours{
		"texts are counted by their keys":                                    sealedIsCounted,
		"pages have every text under another key once":                       sealedIsPaged,
		"a text that somebody changed meanwhile is not replaced":             sealedIsComparedAndSet,
		"sealed updates are counted where they lie":                          sealedUpdatesAreCounted,
		"the spool is read page by page without being claimed":               spoolIsReadUnclaimed,
		"of several versions of a session the one that is meant is replaced": sealedSessionIsReplaced,
	}.check(t, open)
}

func columnOf(t *testing.T, name string) store.SealedColumn {
	t.Helper()
	for _, c := range store.SealedColumns {
		if c.String() == name {
			return c
		}
	}
	require.Fail(t, "no such column", name)
	return store.SealedColumn{}
}

func sealedBot(t *testing.T, db *store.DB, n int, sealed string) {
	t.Helper()
	require.NoError(t, db.Bots().Add(t.Context(), account.Bot{
		ID: fmt.Sprintf("bot%02d", n), BotID: account.BotID(n), Delivery: account.Webhook, SealedToken: sealed, CreatedAt: time.Unix(1_790_000_000, 0),
	}))
}

func sealedIsCounted(t *testing.T, db *store.DB) {
	for i, text := range []string{"v1.a.AA", "v1.a.AB", "v1.b_c.AA", "nothing", "v2.a.AA"} {
		sealedBot(t, db, i+1, text)
	}
	counts, err := db.Sealed().Count(t.Context(), columnOf(t, "bots.sealed_token"))
	require.NoError(t, err)
	require.Equal(t, map[string]int{"a": 2, "b_c": 1, "": 2}, counts)

	c, _ := held(t, db, "desk")
	_, err = db.SignIns().Begin(t.Context(), account.SignIn{
		ConnectorID: c.ID, Method: account.ByCode, Step: account.Begun, SealedPhone: "v1.a.AA", SealedCode: "v1.b.AA", SealedPassword: "v1.c.AA",
		SealedToken: "v1.d.AA", SealedCodeHash: "v1.e.AA", SealedQR: "v1.f.AA",
	})
	require.NoError(t, err)
	for name, key := range map[string]string{"phone": "a", "code": "b", "password": "c", "token": "d", "code_hash": "e", "qr": "f"} {
		counts, err := db.Sealed().Count(t.Context(), columnOf(t, "sign_ins.sealed_"+name))
		require.NoError(t, err)
		require.Equal(t, map[string]int{key: 1}, counts, name)
	}
}

func sealedIsPaged(t *testing.T, db *store.DB) {
	const bots = 7
	for i := range bots {
		sealedBot(t, db, i+1, "v1.old.AA")
	}
	sealedBot(t, db, bots+1, "v1.new.AA")
	sealedBot(t, db, bots+2, "v1.newer.AA")
	sealed, column := db.Sealed(), columnOf(t, "bots.sealed_token")
	var rows []string
	var after store.SealedText
	for {
		page, err := sealed.Page(t.Context(), column, "new", after, 3)
		require.NoError(t, err)
		if len(page) == 0 {
			break
		}
		for i := range page {
			rows = append(rows, page[i].Row())
		}
		after = page[len(page)-1]
	}
	require.Equal(t, []string{"bot01", "bot02", "bot03", "bot04", "bot05", "bot06", "bot07", "bot09"}, rows)
}

func sealedIsComparedAndSet(t *testing.T, db *store.DB) {
	sealedBot(t, db, 1, "v1.old.AA")
	sealedBot(t, db, 2, "v1.old.AA")
	sealed, column := db.Sealed(), columnOf(t, "bots.sealed_token")
	page, err := sealed.Page(t.Context(), column, "new", store.SealedText{}, 10)
	require.NoError(t, err)
	require.Len(t, page, 2)
	for _, want := range []bool{true, false} {
		done, err := sealed.Replace(t.Context(), column, page[0], "v1.new.AA")
		require.NoError(t, err)
		require.Equal(t, want, done)
	}
	_, err = db.Bots().Remove(t.Context(), "bot02")
	require.NoError(t, err)
	done, err := sealed.Replace(t.Context(), column, page[1], "v1.new.AA")
	require.NoError(t, err)
	require.False(t, done)
	bots, err := db.Bots().List(t.Context())
	require.NoError(t, err)
	require.Len(t, bots, 1)
	require.Equal(t, "v1.new.AA", bots[0].SealedToken)
}

func sealedSessionIsReplaced(t *testing.T, db *store.DB) {
	_, lease := held(t, db, "desk")
	for range 3 {
		save(t, db, lease, account.Session{Authorised: true, Sealed: "v1.old.AA"}, 0)
	}
	sealed, column := db.Sealed(), columnOf(t, "connector_sessions.sealed")
	first, err := sealed.Page(t.Context(), column, "new", store.SealedText{}, 1)
	require.NoError(t, err)
	require.Equal(t, "id-desk/1", first[0].Row())
	rest, err := sealed.Page(t.Context(), column, "new", first[0], 10)
	require.NoError(t, err)
	require.Len(t, rest, 2)
	done, err := sealed.Replace(t.Context(), column, rest[1], "v1.new.AB")
	require.NoError(t, err)
	require.True(t, done)
	require.Equal(t, "v1.new.AB", load(t, db, "id-desk").Sealed)
	counts, err := sealed.Count(t.Context(), column)
	require.NoError(t, err)
	require.Equal(t, map[string]int{"old": 2, "new": 1}, counts)
}

// sealedUpdate returns an update that came to account at that time, with raw as its bytes.
func sealedUpdate(transport ingest.Transport, account int64, format ingest.Format, raw string) ingest.Envelope {
	return ingest.Envelope{
		Source: ingest.Source{Transport: transport, Account: account}, ReceivedAt: time.Unix(1_790_000_000+86_400*account, 0),
		Origin: ingest.Live, Format: format, Raw: []byte(raw),
	}
}

func sealedUpdatesAreCounted(t *testing.T, db *store.DB) {
	var batch content.Batch
	for _, e := range []ingest.Envelope{
		sealedUpdate(ingest.MTProto, 1, ingest.SealedTL, "v1.a.AA"), sealedUpdate(ingest.MTProto, 1, ingest.SealedTL, "v1.a.AB"),
		sealedUpdate(ingest.MTProto, 2, ingest.SealedTL, "v1.a.AA"), sealedUpdate(ingest.MTProto, 3, ingest.SealedTL, "v1.b.AA"),
		sealedUpdate(ingest.MTProto, 3, ingest.MTProtoTL, "v1.b.AB"), sealedUpdate(ingest.BotAPI, 3, ingest.BotAPIJSON, "v1.b.AC"),
	} {
		batch.Changes = append(batch.Changes, content.ChangeSet{Update: content.Update{
			Envelope: e, Hash: ingest.HashOf(e.Raw), Kind: "sealed", NormaliserVersion: 1,
		}})
	}
	for _, e := range []ingest.Envelope{
		sealedUpdate(ingest.MTProto, 1, ingest.SealedTL, "v1.c.AA"), sealedUpdate(ingest.BotAPI, 1, ingest.BotAPIJSON, "\xff\x00v1.d.AA"),
	} {
		batch.DeadLetters = append(batch.DeadLetters, ingest.DeadLetter{Envelope: e, Class: "not_json", NormaliserVersion: 1, DiedAt: time.Unix(1_790_000_001, 0)})
	}
	counts, err := db.Sealed().CountLedger(t.Context())
	require.NoError(t, err)
	require.Empty(t, counts)
	_, err = db.Archive().Apply(t.Context(), batch)
	require.NoError(t, err)
	counts, err = db.Sealed().CountLedger(t.Context())
	require.NoError(t, err)
	require.Equal(t, map[string]int{"a": 3, "b": 1}, counts)
	counts, err = db.Sealed().CountDeadLetters(t.Context())
	require.NoError(t, err)
	require.Equal(t, map[string]int{"c": 1}, counts)
}

func spoolIsReadUnclaimed(t *testing.T, db *store.DB) {
	for i := range 3 {
		_, err := db.Spool().Put(t.Context(), ingest.Spooled{OldestAt: time.Unix(1_790_000_000, 0), Updates: 1, Payload: []byte{byte(i)}})
		require.NoError(t, err)
	}
	first, last, err := db.Sealed().Spooled(t.Context(), 0, 2)
	require.NoError(t, err)
	rest, last, err := db.Sealed().Spooled(t.Context(), last, 2)
	require.NoError(t, err)
	require.Equal(t, [][]byte{{0}, {1}, {2}}, append(first, rest...))
	none, _, err := db.Sealed().Spooled(t.Context(), last, 2)
	require.NoError(t, err)
	require.Empty(t, none)
	claimed, err := db.Spool().Claim(t.Context(), 10, time.Minute)
	require.NoError(t, err)
	require.Len(t, claimed, 3)
}
