package storetest

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tgfleet/tgfleet/internal/content"
	"github.com/tgfleet/tgfleet/internal/ingest"
)

func stateIsKept(t *testing.T, a *archive) {
	change := update(5)
	v := version(&change, 0)
	key := content.MessageKey{Scope: 42, ChatID: 7, MessageID: 9}
	until := sent.Add(time.Hour)
	change.Memberships = []content.Membership{{
		ChatID: -7, UserID: 8, Version: v, Status: "kicked", OldStatus: "member", Date: sent, UntilDate: until, ActorID: 9, Rest: "[1]",
	}}
	change.Reactions = []content.Reaction{{Key: key, ActorID: -5, Version: v, Date: sent, Reactions: "[2]"}}
	change.ReactionCounts = []content.ReactionCount{{Key: key, Version: v, Date: sent, TotalCount: 12, Reactions: "[3]"}}
	change.Polls = []content.Poll{{
		ID: "p", Version: v, Question: "when?", Type: "quiz", IsClosed: true, AllowsMultipleAnswers: true, TotalVoterCount: 6, CloseDate: until,
		Options: "[4]", Rest: "[5]",
	}}
	change.PollAnswers = []content.PollAnswer{{PollID: "p", VoterID: 8, Version: v, OptionIDs: "[0]", Rest: "[6]"}}
	change.Interactions = []content.Interaction{{
		Kind: "callback_query", Version: v, ID: "q", FromID: 8, Key: key, InlineMessageID: "i", Data: "yes", Date: sent, Rest: "[7]",
	}}
	change.BusinessConnections = []content.BusinessConnection{{
		ID: "c", Version: v, UserID: 8, UserChatID: 9, Date: sent, IsEnabled: true, Rest: "[8]",
	}}
	change.ChatBoosts = []content.ChatBoost{{
		ChatID: -7, BoostID: "b", Version: v, AddDate: sent, ExpirationDate: until, SourceType: "premium", UserID: 8, Rest: "[9]",
	}}
	change.ChatAliases = []content.ChatAlias{{ChatID: -7, MigratedToChatID: -1007, Date: sent}}
	require.Equal(t, content.Outcome{Updates: 1, Events: 8}, a.apply(t, change))

	at, later := sent.UTC().Format(time.RFC3339Nano), until.UTC().Format(time.RFC3339Nano)
	for table, want := range map[string]string{
		"memberships":     "chat_id=-7 user_id=8 status=kicked is_member=false date=AT until_date=LATER actor_id=9 rest=[1]",
		"reactions":       "scope=42 chat_id=7 message_id=9 actor_id=-5 date=AT reactions=[2]",
		"reaction_counts": "scope=42 chat_id=7 message_id=9 date=AT total_count=12 reactions=[3]",
		"polls": "id=p question=when? type=quiz is_closed=true is_anonymous=false allows_multiple_answers=true total_voter_count=6 " +
			"close_date=LATER options=[4] rest=[5]",
		"poll_answers": "poll_id=p voter_id=8 option_ids=[0] rest=[6]",
		"interactions": "source=botapi:7000000001 update_id=5 kind=callback_query id=q from_id=8 scope=42 chat_id=7 message_id=9 " +
			"inline_message_id=i data=yes date=AT rest=[7]",
		"business_connections": "id=c user_id=8 user_chat_id=9 date=AT is_enabled=true rest=[8]",
		"chat_boosts":          "chat_id=-7 boost_id=b add_date=AT expiration_date=LATER source_type=premium user_id=8 rest=[9] removed_at=<nil>",
		"chat_aliases":         "chat_id=-7 migrated_to_chat_id=-1007 date=AT",
	} {
		want = strings.NewReplacer("AT", at, "LATER", later).Replace(want) + " "
		require.Equal(t, []string{want}, a.dumpTable(t, table, columnsOf(want)), table)
	}
	require.Equal(t, []string{
		"business.changed business_connections/c",
		"chat.migrated chats/-7",
		"interaction.received interactions/" + change.Update.Envelope.Source.String() + "/5/" + fmt.Sprintf("%x", change.Update.Hash),
		"member.changed chats/-7/members/8",
		"poll.updated polls/p", "poll.updated polls/p",
		"reaction.changed messages/42/7/9", "reaction.changed messages/42/7/9",
	}, a.events(t))
}

// columnsOf returns the columns of a line, so that both databases give them as the same text.
func columnsOf(line string) string {
	var names []string
	for cell := range strings.FieldsSeq(line) {
		name, _, _ := strings.Cut(cell, "=")
		switch name {
		case "rest", "reactions", "options", "option_ids":
			name = "CAST(" + name + " AS text) AS " + name
		case "is_member", "is_closed", "is_anonymous", "allows_multiple_answers", "is_enabled":
			name = "CASE WHEN " + name + " THEN 'true' ELSE 'false' END AS " + name
		}
		names = append(names, name)
	}
	return strings.Join(names, ", ")
}

// stateTables are the tables of what is told beside messages.
var stateTables = []string{
	"memberships", "reactions", "reaction_counts", "polls", "poll_answers", "interactions", "business_connections", "chat_boosts", "chat_aliases",
}

// pairsOf returns two updates of each kind that is about table, the older one first.
func pairsOf(t *testing.T, table string) (pairs []history) {
	t.Helper()
	for what, kind := range kinds {
		if kind.table == table {
			pairs = append(pairs, history{number: 1, steps: []step{{what: what, second: 1, text: 1}, {what: what, second: 2, text: 2}}})
		}
	}
	require.NotEmpty(t, pairs, table)
	return pairs
}

func newerStateWins(t *testing.T, a *archive) {
	for _, table := range stateTables {
		if table == "chat_aliases" || table == "interactions" {
			continue // what happens once has no newer state
		}
		for _, pair := range pairsOf(t, table) {
			older, newer := pair.read(t, 0, 0), pair.read(t, 1, 0)
			a.clear(t)
			a.apply(t, newer)
			want := a.dumpTable(t, table, "*")
			for name, apply := range map[string]func(){
				"in order":            func() { a.apply(t, older); a.apply(t, newer) },
				"the older one last":  func() { a.apply(t, newer); a.apply(t, older) },
				"in one batch":        func() { a.apply(t, older, newer) },
				"backwards, in one":   func() { a.apply(t, newer, older) },
				"a repeat comes last": func() { a.apply(t, older, newer); a.apply(t, older) },
			} {
				a.clear(t)
				apply()
				require.Equal(t, want, a.dumpTable(t, table, "*"), "%s, %s, %s", table, newer.Update.Kind, name)
			}
		}
	}
}

func rereadStateIsNoNews(t *testing.T, a *archive) {
	for _, table := range stateTables {
		for _, pair := range pairsOf(t, table) {
			told, again := pair.read(t, 0, 0), pair.read(t, 0, 0)
			again.Update.Envelope.Origin = ingest.Replay
			readBetter(&again)
			kind := told.Update.Kind
			a.clear(t)
			a.apply(t, told)
			before, news := a.dumpTable(t, table, "*"), a.events(t)
			require.Zero(t, a.apply(t, again).Events, kind)
			require.Equal(t, news, a.events(t), kind)
			better := a.dumpTable(t, table, "*")
			if table != "chat_aliases" { // of which there is nothing to be read better
				require.NotEqual(t, before, better, "%s: the better reading wins", kind)
			}
			a.clear(t)
			a.apply(t, again, told)
			require.Equal(t, better, a.dumpTable(t, table, "*"), "%s, in one batch", kind)
		}
	}
}

func interactionKeepsFirstDate(t *testing.T, a *archive) {
	late := func(hours int) content.ChangeSet {
		change := update(1)
		change.Update.Envelope.ReceivedAt = received.Add(time.Duration(hours) * time.Hour)
		change.Interactions = []content.Interaction{{Kind: "inline_query", Version: "1", Date: change.Update.Envelope.ReceivedAt}}
		return change
	}
	requireDate := func(hours int) {
		t.Helper()
		var date time.Time
		a.row(t, "SELECT date FROM interactions", &date)
		require.WithinDuration(t, received.Add(time.Duration(hours)*time.Hour), date, 0)
	}
	a.apply(t, late(3), late(2))
	requireDate(2)
	a.apply(t, late(4))
	requireDate(2)
	a.apply(t, late(1))
	requireDate(1)
}

func boostRemovalMayComeFirst(t *testing.T, a *archive) {
	removed := func(id int64, seconds int) content.ChangeSet {
		change := update(id)
		change.ChatBoosts = []content.ChatBoost{{ChatID: -7, BoostID: "b", RemovedAt: sent.Add(time.Duration(seconds) * time.Second)}}
		return change
	}
	given := update(1)
	given.ChatBoosts = []content.ChatBoost{{ChatID: -7, BoostID: "b", Version: version(&given, 0), AddDate: sent, SourceType: "premium"}}
	want := "source_type=premium removed_at=" + sent.Add(time.Second).UTC().Format(time.RFC3339Nano) + " "
	for name, apply := range map[string]func(){
		"after":     func() { a.apply(t, given); a.apply(t, removed(2, 1)) },
		"before":    func() { a.apply(t, removed(2, 1)); a.apply(t, given) },
		"in one":    func() { a.apply(t, removed(2, 1), given) },
		"told late": func() { a.apply(t, removed(3, 5), given); a.apply(t, removed(2, 1)) },
	} {
		a.clear(t)
		apply()
		require.Equal(t, []string{want}, a.dumpTable(t, "chat_boosts", "source_type, removed_at"), name)
	}
}
