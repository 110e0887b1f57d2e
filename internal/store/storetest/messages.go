package storetest

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tgfleet/tgfleet/internal/content"
	"github.com/tgfleet/tgfleet/internal/fault"
	"github.com/tgfleet/tgfleet/internal/ingest"
	"github.com/tgfleet/tgfleet/internal/store"
)

// Messages checks the repository for reading messages.
func Messages(t *testing.T, open Open) {
	behaviours{
		"a message is read as it was written":                             messageIsRead,
		"the newest come first, page by page and each once":               messagesArePaged,
		"a chat is listed under all its ids, whichever is asked for":      migratedChatIsWhole,
		"a chat that moved twice is listed under all three ids":           chainOfMigrationsIsWhole,
		"aliases that lead in a circle end":                               circleOfAliasesEnds,
		"other chats stay out":                                            otherChatsStayOut,
		"an album is gathered over a migration":                           albumIsGathered,
		"a deleted message is listed as deleted, its content still there": deletedMessageIsListed,
		"a deletion whose message is not known is listed at its time":     stubIsListed,
		"a chat without messages is empty":                                emptyChat,
		"a message of several accounts is there for each":                 messageOfSeveralAccounts,
		"a place is read as it is written":                                placeIsParsed,
		"the newest number is that of a chat, or of a whole numbering":    newestIsFound,
		"chats are called by their titles, people by their first names":   titlesAreFound,
	}.check(t, open)
}

const (
	group      content.ChatID = -1500
	supergroup content.ChatID = -1001500
	megagroup  content.ChatID = -1002500
)

// said is a text message of a chat, sent seconds after sent.
func said(chat content.ChatID, id content.MessageID, seconds int) content.ChangeSet {
	change := update(int64(id))
	change.Update.Envelope.Raw = []byte(content.MessageKey{ChatID: chat, MessageID: id}.String())
	change.Update.Hash = ingest.HashOf(change.Update.Envelope.Raw)
	key := content.MessageKey{Scope: content.ScopeShared, ChatID: chat, MessageID: id}
	if chat == group {
		key.Scope = content.Scope(someBot)
	}
	change.Messages = []content.Message{{
		Key: key, Kind: "text", NormaliserVersion: 1, Date: sent.Add(time.Duration(seconds) * time.Second), Text: "said",
		Version: version(&change, seconds),
	}}
	return change
}

func migrated(from, to content.ChatID) content.ChangeSet {
	change := update(int64(from))
	change.ChatAliases = []content.ChatAlias{{ChatID: from, MigratedToChatID: to, Date: sent}}
	return change
}

func gone(key content.MessageKey, seconds int) content.ChangeSet {
	change := update(900_000 + int64(key.MessageID))
	change.Deletions = []content.Deletion{{Key: key, DeletedAt: sent.Add(time.Duration(seconds) * time.Second)}}
	return change
}

// listed is a message in short: the id of its chat as it was delivered, and its own.
type listed struct {
	chat    content.ChatID
	message content.MessageID
}

func list(t *testing.T, db *store.DB, filter store.MessageFilter) (ids []content.ChatID, messages []store.Message, short []listed) {
	t.Helper()
	page, err := db.Messages().List(t.Context(), filter, store.MessagePlace{}, 100)
	require.NoError(t, err)
	for i := range page.Messages {
		short = append(short, listed{page.Messages[i].Key.ChatID, page.Messages[i].Key.MessageID})
	}
	return page.ChatIDs, page.Messages, short
}

func requireListed(t *testing.T, db *store.DB, filter store.MessageFilter, want ...listed) {
	t.Helper()
	_, _, short := list(t, db, filter)
	require.Equal(t, want, short)
}

func messageIsRead(t *testing.T, db *store.DB) {
	change := update(1)
	m := content.Message{
		Key: content.MessageKey{Scope: -5, ChatID: 6, MessageID: 7}, Version: version(&change, 3), Kind: "video", NormaliserVersion: 9,
		ThreadID: 8, IsTopicMessage: true, FromID: 10, SenderChatID: -11, ViaBotID: 12, AuthorSignature: "sign",
		BusinessConnectionID: "biz", Date: sent, EditDate: sent.Add(3 * time.Second), Text: "héllo <b> & 👋\n\x1b[2J",
		Entities:     []content.Entity{{Type: "bold", Length: 5}, {Type: "text_link", Offset: 1, Length: 2, URL: "https://a.b/?c&d"}},
		MediaGroupID: "album", Content: `{"a":1}`, Rest: `{"b":2}`,
		Media: []content.Media{
			{Kind: "video", FileUniqueID: "u", FileName: "n.mp4", MIMEType: "video/mp4", SizeBytes: 1 << 33, Width: 1920, Height: 1080, Duration: 1500 * time.Millisecond, Rest: `["c"]`},
			{Kind: "photo", FileUniqueID: "cover"},
		},
		ReplyTo: content.Reply{ChatID: -13, MessageID: 14, Quote: "quoted"},
		Forward: content.Forward{
			OriginType: "channel", Date: sent.Add(-time.Hour), FromID: 15, SenderName: "hidden", ChatID: -16, MessageID: 17,
			AuthorSignature: "fsign", IsAutomatic: true,
		},
	}
	bare := content.Message{
		Key: content.MessageKey{Scope: -5, ChatID: 6, MessageID: 8}, Version: version(&change, 3), Kind: "text", NormaliserVersion: 9,
		Date: sent.Add(-time.Second), ReplyTo: content.Reply{MessageID: 7},
	}
	// Its scope and number are combined of the other two's.
	crossed := content.Message{
		Key: content.MessageKey{Scope: -6, ChatID: 6, MessageID: 7}, Version: version(&change, 3), Kind: "photo", NormaliserVersion: 9,
		Date: sent.Add(-time.Hour), Media: []content.Media{{Kind: "photo", FileUniqueID: "crossed"}},
	}
	other := bare
	other.Key = content.MessageKey{Scope: -6, ChatID: 6, MessageID: 8}
	other.Date = sent.Add(-time.Minute)
	change.Messages = []content.Message{m, bare, crossed, other}
	record(t, db, change)
	page, err := db.Messages().List(t.Context(), store.MessageFilter{ChatID: 6}, store.MessagePlace{}, 3)
	require.NoError(t, err)
	require.JSONEq(t, string(m.Content), string(page.Messages[0].Content))
	require.JSONEq(t, string(m.Rest), string(page.Messages[0].Rest))
	m.Content, m.Rest = page.Messages[0].Content, page.Messages[0].Rest
	require.Equal(t, []store.Message{{Message: m}, {Message: bare}, {Message: other}}, page.Messages)
	_, all, _ := list(t, db, store.MessageFilter{ChatID: 6})
	require.Equal(t, crossed.Media, all[3].Media)
}

func messagesArePaged(t *testing.T, db *store.DB) {
	changes := []content.ChangeSet{migrated(group, supergroup)}
	// Three messages share each second, and two of them a number.
	for i := range 10 {
		id := content.MessageID(i + 1)
		changes = append(changes, said(supergroup, id, i), said(group, id, i), said(supergroup, id+500, i))
	}
	for i := range 4 {
		changes = append(changes, gone(content.MessageKey{ChatID: supergroup, MessageID: content.MessageID(1000 + i)}, 2*i))
	}
	record(t, db, changes...)
	_, all, _ := list(t, db, store.MessageFilter{ChatID: group})
	require.Len(t, all, 34)
	require.True(t, slices.IsSortedFunc(all, func(a, b store.Message) int { return b.Place().At.Compare(a.Place().At) }))
	for _, limit := range []int{1, 2, 7, 34} {
		var paged []store.Message
		var after store.MessagePlace
		for {
			page, err := db.Messages().List(t.Context(), store.MessageFilter{ChatID: supergroup}, after, limit)
			require.NoError(t, err)
			require.LessOrEqual(t, len(page.Messages), limit)
			if len(page.Messages) == 0 {
				break
			}
			paged = append(paged, page.Messages...)
			after = page.Messages[len(page.Messages)-1].Place()
		}
		require.Equal(t, all, paged, "pages of %d", limit)
	}
	page, err := db.Messages().List(t.Context(), store.MessageFilter{ChatID: group}, store.MessagePlace{}, 0)
	require.NoError(t, err)
	require.Equal(t, all[:1], page.Messages)
}

func migratedChatIsWhole(t *testing.T, db *store.DB) {
	record(t, db, said(group, 1, 1), said(group, 9, 2), said(supergroup, 1, 3), said(supergroup, 2, 4))
	requireListed(t, db, store.MessageFilter{ChatID: group}, listed{group, 9}, listed{group, 1})
	record(t, db, migrated(group, supergroup))
	for _, chat := range []content.ChatID{group, supergroup} {
		ids, _, short := list(t, db, store.MessageFilter{ChatID: chat})
		require.Equal(t, []content.ChatID{supergroup, group}, ids)
		require.Equal(t, []listed{{supergroup, 2}, {supergroup, 1}, {group, 9}, {group, 1}}, short, "under the ids as delivered")
	}
}

func chainOfMigrationsIsWhole(t *testing.T, db *store.DB) {
	record(t, db, said(group, 1, 1), said(supergroup, 1, 2), said(megagroup, 1, 3), migrated(group, supergroup), migrated(supergroup, megagroup))
	for _, chat := range []content.ChatID{group, supergroup, megagroup} {
		ids, _, short := list(t, db, store.MessageFilter{ChatID: chat})
		require.Equal(t, []content.ChatID{megagroup, supergroup, group}, ids)
		require.Equal(t, []listed{{megagroup, 1}, {supergroup, 1}, {group, 1}}, short)
	}
}

func circleOfAliasesEnds(t *testing.T, db *store.DB) {
	record(t, db, said(group, 1, 1), migrated(group, supergroup), migrated(supergroup, group))
	ids, _, short := list(t, db, store.MessageFilter{ChatID: supergroup})
	require.Equal(t, []content.ChatID{supergroup, group}, ids)
	require.Equal(t, []listed{{group, 1}}, short)
}

func otherChatsStayOut(t *testing.T, db *store.DB) {
	record(t, db, said(group, 1, 1), said(supergroup, 1, 2), said(megagroup, 1, 3), migrated(-77, megagroup))
	ids, _, short := list(t, db, store.MessageFilter{ChatID: group})
	require.Equal(t, []content.ChatID{group}, ids)
	require.Equal(t, []listed{{group, 1}}, short)
}

func albumIsGathered(t *testing.T, db *store.DB) {
	in := func(album string, change content.ChangeSet, names ...string) content.ChangeSet {
		change.Messages[0].MediaGroupID, change.Messages[0].Kind = album, "photo"
		for _, name := range names {
			change.Messages[0].Media = append(change.Messages[0].Media, content.Media{Kind: "photo", FileUniqueID: name})
		}
		return change
	}
	record(t, db, in("7", said(group, 1, 1), "a"), in("7", said(group, 2, 1), "b", "c"), in("7", said(supergroup, 1, 2), "d"),
		in("8", said(group, 3, 3), "e"), said(supergroup, 2, 4), in("7", said(megagroup, 1, 1), "f"), migrated(group, supergroup))
	for _, chat := range []content.ChatID{group, supergroup} {
		_, messages, short := list(t, db, store.MessageFilter{ChatID: chat, MediaGroupID: "7"})
		require.Equal(t, []listed{{supergroup, 1}, {group, 2}, {group, 1}}, short)
		require.Equal(t, []content.Media{{Kind: "photo", FileUniqueID: "b"}, {Kind: "photo", FileUniqueID: "c"}}, messages[1].Media)
	}
	requireListed(t, db, store.MessageFilter{ChatID: megagroup, MediaGroupID: "7"}, listed{megagroup, 1})
	requireListed(t, db, store.MessageFilter{ChatID: group, MediaGroupID: "9"})
}

func deletedMessageIsListed(t *testing.T, db *store.DB) {
	first := said(supergroup, 1, 1)
	record(t, db, first, said(supergroup, 2, 2), gone(first.Messages[0].Key, 50))
	_, messages, short := list(t, db, store.MessageFilter{ChatID: supergroup})
	require.Equal(t, []listed{{supergroup, 2}, {supergroup, 1}}, short, "where it was sent")
	require.Zero(t, messages[0].DeletedAt)
	require.Equal(t, sent.Add(50*time.Second), messages[1].DeletedAt)
	require.Equal(t, "said", messages[1].Text)
}

func stubIsListed(t *testing.T, db *store.DB) {
	stub := content.MessageKey{Scope: content.ScopeShared, ChatID: supergroup, MessageID: 5}
	record(t, db, said(supergroup, 1, 1), gone(stub, 2), said(supergroup, 3, 3))
	_, messages, short := list(t, db, store.MessageFilter{ChatID: supergroup})
	require.Equal(t, []listed{{supergroup, 3}, {supergroup, 5}, {supergroup, 1}}, short)
	require.Equal(t, store.Message{Message: content.Message{Key: stub}, DeletedAt: sent.Add(2 * time.Second)}, messages[1])
}

func emptyChat(t *testing.T, db *store.DB) {
	ids, messages, _ := list(t, db, store.MessageFilter{ChatID: 4})
	require.Equal(t, []content.ChatID{4}, ids)
	require.Empty(t, messages)
}

func messageOfSeveralAccounts(t *testing.T, db *store.DB) {
	second := of(otherBot, said(group, 3, 1))
	second.Messages[0].Key.Scope = content.Scope(otherBot)
	record(t, db, said(group, 3, 1), second)
	requireListed(t, db, store.MessageFilter{ChatID: group}, listed{group, 3}, listed{group, 3})
}

func placeIsParsed(t *testing.T, _ *store.DB) {
	place := store.MessagePlace{At: sent.Add(time.Microsecond), Key: content.MessageKey{Scope: -4, ChatID: -1001, MessageID: 77}}
	parsed, err := store.ParseMessagePlace(place.String())
	require.NoError(t, err)
	require.Equal(t, place, parsed)
	for _, wrong := range []string{"", "1", "2026-03-01/0/1/2", sent.Format(time.RFC3339) + "/0/1", place.String() + "/", place.String() + "x"} {
		_, err := store.ParseMessagePlace(wrong)
		require.Equal(t, fault.Permanent, fault.ClassOf(err), wrong)
		require.ErrorContains(t, err, "want <time>/<scope>/<chat id>/<message id>")
	}
}

func newestIsFound(t *testing.T, db *store.DB) {
	record(t, db, said(supergroup, 30, 1), said(supergroup, 20, 2), said(group, 7, 3), said(group, 5, 4))
	for _, c := range []struct {
		scope content.Scope
		chat  content.ChatID
		want  content.MessageID
	}{
		{content.ScopeShared, supergroup, 30},
		{content.ScopeShared, group, 0},
		{content.Scope(someBot), group, 7},
		{content.Scope(someBot), 0, 7},
		{content.Scope(someBot) + 1, 0, 0},
		{content.ScopeShared, 0, 0},
	} {
		got, err := db.Messages().Newest(t.Context(), c.scope, c.chat)
		require.NoError(t, err)
		require.Equal(t, c.want, got, "%d in %d", c.chat, c.scope)
	}
}

func titlesAreFound(t *testing.T, db *store.DB) {
	change := said(supergroup, 1, 1)
	at := change.Messages[0].Version
	change.Chats = []content.Chat{
		{ID: supergroup, Version: at, Title: "Harbour"}, {ID: 42, Version: at, FirstName: "Anna"}, {ID: 43, Version: at},
	}
	record(t, db, change)
	titles, err := db.Messages().Titles(t.Context(), []content.ChatID{supergroup, 42, 43, 44})
	require.NoError(t, err)
	require.Equal(t, map[content.ChatID]string{supergroup: "Harbour", 42: "Anna"}, titles)
	titles, err = db.Messages().Titles(t.Context(), nil)
	require.NoError(t, err)
	require.Empty(t, titles)
}
