package e2e_test

import (
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tgfleet/tgfleet/internal/ingest"
	"github.com/tgfleet/tgfleet/internal/simulator"
)

// requireArchive fails unless the database holds exactly what Telegram sent: every update that it was told is taken, none that it
// did not send, each once and byte for byte; and the messages, revisions and events that follow from these updates.
func requireArchive(t testing.TB, db *archive, tg *telegram) {
	t.Helper()
	got := db.contents()
	want := expect(t, arrived(t, tg, got.ledger))
	maps.Copy(want.events, db.eventsOfRevisions(want.messages))
	requireSame(t, "updates", want.ledger, got.ledger)
	requireSame(t, "messages", want.messages, got.messages)
	requireSame(t, "media", want.media, got.media)
	requireSame(t, "revisions", want.revisions, got.revisions)
	requireSame(t, "events", want.events, got.events)
	requireSame(t, "state", want.state, got.state)
	requireSame(t, "chats", want.chats, got.chats)
	requireSame(t, "users", want.users, got.users)
	require.Zero(t, db.count("SELECT count(*) FROM dead_letters"), "dead letters")
	require.Zero(t, db.count("SELECT count(*) FROM spool"), "spooled batches")
}

// arrived returns the updates that the ledger must hold: those that Telegram was told are taken, and those that were taken without
// its having learned so.
func arrived(t testing.TB, tg *telegram, ledger map[ledgerKey]ledgerRow) []simulator.Update {
	t.Helper()
	var updates []simulator.Update
	for _, u := range tg.Oracle().Updates() {
		_, kept := ledger[ledgerKey{source: sourceOf(u.BotID), updateID: u.ID, payload: string(u.Raw)}]
		if u.Told > 0 || kept {
			updates = append(updates, u)
		}
	}
	require.NotEmpty(t, updates)
	return updates
}

// impatient are the kinds that Telegram itself gives up within minutes. Source: tdlib/telegram-bot-api, the timeouts given to add_update.
var impatient = map[ingest.Kind]bool{"inline_query": true, "callback_query": true, "chosen_inline_result": true}

// requireDelivered fails unless everything that happened was taken, but for what Telegram itself gives up while a fleet is down.
func requireDelivered(t testing.TB, tg *telegram) {
	t.Helper()
	for _, u := range tg.Oracle().Updates() {
		if u.ID != 0 && u.Outcome != simulator.Acknowledged && !impatient[u.Kind] {
			t.Errorf("%s %d of bot %d: %s after %d tries", u.Kind, u.ID, u.BotID, u.Outcome, u.Attempts)
		}
	}
}

// requireSame compares what must be there with what is, and shows the first differences.
func requireSame[K, V comparable](t testing.TB, what string, want, got map[K]V) {
	t.Helper()
	const most = 5
	var missing, different, strange []string
	for key, value := range want {
		found, there := got[key]
		switch {
		case !there:
			missing = append(missing, fmt.Sprintf("%+v: %+v", key, value))
		case found != value:
			different = append(different, fmt.Sprintf("%+v:\n    want %+v\n    have %+v", key, value, found))
		}
	}
	for key, value := range got {
		if _, there := want[key]; !there {
			strange = append(strange, fmt.Sprintf("%+v: %+v", key, value))
		}
	}
	var report strings.Builder
	for _, part := range []struct {
		name string
		list []string
	}{{"missing", missing}, {"different", different}, {"not expected", strange}} {
		if len(part.list) > 0 {
			fmt.Fprintf(&report, "\n%d %s, such as\n  %s", len(part.list), part.name,
				strings.Join(part.list[:min(most, len(part.list))], "\n  "))
		}
	}
	if report.Len() > 0 {
		t.Errorf("%s: %d must be there, %d are:%s", what, len(want), len(got), report.String())
	}
}
