package storetest

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tgfleet/tgfleet/internal/content"
	"github.com/tgfleet/tgfleet/internal/ingest"
)

func contextOf(t *testing.T) (context.Context, context.CancelFunc) {
	return context.WithCancel(t.Context())
}

func updateIsKept(t *testing.T, a *archive) {
	change := update(5)
	raw := []byte("{\"update_id\":5,\"text\":\"\\u0000 \\ud800 \x00\xff\"}")
	env := &change.Update.Envelope
	env.Raw, change.Update.Hash = raw, ingest.HashOf(raw)
	env.Source, env.Origin, env.Format = ingest.Source{Transport: ingest.MTProto, Account: 42}, ingest.Difference, ingest.MTProtoTL
	env.Layer, env.Request = 214, []byte{0, 1, 2}
	env.ReceivedAt = time.Date(2026, 3, 2, 1, 30, 0, 999_999_999, time.FixedZone("east", 2*3600))
	require.Equal(t, content.Outcome{Updates: 1}, a.apply(t, change))

	var day, source, kind string
	var id, chat, origin, format, layer, normaliser int64
	var hash, request, payload []byte
	var at time.Time
	a.row(t, `SELECT CAST(day AS text), source, update_id, hash, received_at, kind, chat_id, origin, format, layer, normaliser_version,
		request, payload FROM updates`, &day, &source, &id, &hash, &at, &kind, &chat, &origin, &format, &layer, &normaliser, &request, &payload)
	require.Equal(t, []any{"2026-03-01", "mtproto:42", int64(5), "message"}, []any{day, source, id, kind})
	require.Equal(t, []int64{int64(someChat), int64(ingest.Difference), int64(ingest.MTProtoTL), 214, 1},
		[]int64{chat, origin, format, layer, normaliser})
	require.Equal(t, change.Update.Hash[:], hash)
	require.Equal(t, env.Request, request)
	require.Equal(t, raw, payload, "the exact bytes")
	require.WithinDuration(t, env.ReceivedAt.Truncate(time.Microsecond), at, 0)
}

func repeatChangesNothing(t *testing.T, a *archive) {
	change := photo(1, 0, file("f"))
	change.Chats = []content.Chat{{ID: someChat, Version: version(&change, 0), Title: "chat"}}
	change.Users = []content.User{{ID: 5, Version: version(&change, 0), FirstName: "A"}}
	require.Equal(t, content.Outcome{Updates: 1, Messages: 1, Revisions: 1, Events: 3}, a.apply(t, change, change))
	before := a.dump(t)
	require.Equal(t, content.Outcome{}, a.apply(t, change))
	require.Equal(t, before, a.dump(t))
}

func ledgerKeepsEarliest(t *testing.T, a *archive) {
	at := func(minutes int, origin ingest.Origin) content.ChangeSet {
		change := update(1)
		change.Update.Envelope.ReceivedAt = received.Add(time.Duration(minutes) * time.Minute)
		change.Update.Envelope.Origin = origin
		return change
	}
	require.Equal(t, 1, a.apply(t, at(7, ingest.Live), at(5, ingest.Backfill), at(5, ingest.Replay)).Updates)
	requireArrival := func(minutes int, origin ingest.Origin) {
		t.Helper()
		var when time.Time
		var got ingest.Origin
		a.row(t, "SELECT received_at, origin FROM updates", &when, &got)
		require.WithinDuration(t, received.Add(time.Duration(minutes)*time.Minute), when, 0)
		require.Equal(t, origin, got)
	}
	requireArrival(5, ingest.Backfill)
	require.Zero(t, a.apply(t, at(3, ingest.Live)).Updates)
	requireArrival(3, ingest.Live)
	require.Zero(t, a.apply(t, at(4, ingest.Live), at(3, ingest.Replay)).Updates)
	requireArrival(3, ingest.Live)
}

func ledgerKeepsDays(t *testing.T, a *archive) {
	first, second := update(1), update(1)
	second.Update.Envelope.ReceivedAt = received.AddDate(0, 0, 1)
	require.Equal(t, 2, a.apply(t, second, first).Updates)
	require.Equal(t, 2, a.count(t, "updates"))
}

func ledgerTakesNewerReading(t *testing.T, a *archive) {
	known := update(1)
	unknown := known
	unknown.Update.Kind, unknown.Update.ChatID = ingest.KindUnknown, 0
	known.Update.NormaliserVersion = 2
	known.Update.Envelope.Origin = ingest.Replay
	require.Equal(t, 1, a.apply(t, unknown).Updates)
	for range 2 {
		require.Zero(t, a.apply(t, known).Updates)
		var kind string
		var origin, normaliser int64
		a.row(t, "SELECT kind, origin, normaliser_version FROM updates WHERE chat_id IS NOT NULL", &kind, &origin, &normaliser)
		require.Equal(t, "message", kind)
		require.Equal(t, []int64{int64(ingest.Live), 2}, []int64{origin, normaliser}, "the first arrival stays")
		a.apply(t, unknown)
	}
}

func ledgerTellsUpdatesApart(t *testing.T, a *archive) {
	first, second := update(1), update(1)
	second.Update.Envelope.Raw = []byte("another")
	second.Update.Hash = ingest.HashOf(second.Update.Envelope.Raw)
	require.Equal(t, 3, a.apply(t, first, second, of(otherBot, first)).Updates)
}

func messageIsKept(t *testing.T, a *archive) {
	change := update(1)
	m := content.Message{
		Key: content.MessageKey{Scope: -5, ChatID: 6, MessageID: 7}, Version: version(&change, 3), Kind: "video", NormaliserVersion: 9,
		ThreadID: 8, IsTopicMessage: true, FromID: 10, SenderChatID: -11, ViaBotID: 12, AuthorSignature: "sign",
		BusinessConnectionID: "biz", Date: sent, EditDate: sent.Add(3 * time.Second), Text: "héllo <b> & 👋",
		Entities:     []content.Entity{{Type: "bold", Offset: 0, Length: 5}, {Type: "text_link", Offset: 1, Length: 2, URL: "https://a.b/?c&d"}},
		MediaGroupID: "album",
		Media: []content.Media{{
			Kind: "video", FileUniqueID: "u", FileID: "f", FileName: "n.mp4", MIMEType: "video/mp4", SizeBytes: 1 << 33,
			Width: 1920, Height: 1080, Duration: 1500 * time.Millisecond,
		}},
		ReplyTo: content.Reply{ChatID: -13, MessageID: 14, Quote: "quoted"},
		Forward: content.Forward{
			OriginType: "channel", Date: sent.Add(-time.Hour), FromID: 15, SenderName: "hidden", ChatID: -16, MessageID: 17,
			AuthorSignature: "fsign", IsAutomatic: true,
		},
	}
	change.Messages = []content.Message{m}
	a.apply(t, change)

	var numbers [15]int64
	var flags [2]bool
	var texts [9]string
	var times [3]time.Time
	var entities string
	var stored []byte
	a.row(t, `SELECT scope, chat_id, message_id, normaliser_version, message_thread_id, from_id, sender_chat_id, via_bot_id,
		reply_to_chat_id, reply_to_message_id, forward_from_id, forward_chat_id, forward_message_id,
		is_topic_message, is_automatic_forward,
		kind, author_signature, business_connection_id, text, media_group_id, quote, forward_origin_type, forward_sender_name, forward_signature,
		date, edit_date, forward_date, entities, version FROM messages WHERE deleted_at IS NULL`,
		&numbers[0], &numbers[1], &numbers[2], &numbers[3], &numbers[4], &numbers[5], &numbers[6], &numbers[7], &numbers[8], &numbers[9],
		&numbers[10], &numbers[11], &numbers[12], &flags[0], &flags[1],
		&texts[0], &texts[1], &texts[2], &texts[3], &texts[4], &texts[5], &texts[6], &texts[7], &texts[8],
		&times[0], &times[1], &times[2], &entities, &stored)
	require.Equal(t, []int64{-5, 6, 7, 9, 8, 10, -11, 12, -13, 14, 15, -16, 17}, numbers[:13])
	require.Equal(t, [2]bool{true, true}, flags)
	require.Equal(t, [9]string{"video", "sign", "biz", m.Text, "album", "quoted", "channel", "hidden", "fsign"}, texts)
	for i, want := range []time.Time{m.Date, m.EditDate, m.Forward.Date} {
		require.WithinDuration(t, want, times[i], 0)
	}
	require.JSONEq(t, `[{"type":"bold","offset":0,"length":5},{"type":"text_link","offset":1,"length":2,"url":"https://a.b/?c&d"}]`, entities)
	require.Equal(t, string(m.Version), string(stored))

	a.row(t, `SELECT scope, chat_id, message_id, ordinal, size_bytes, width, height, duration_ms, kind, file_unique_id, file_name, mime_type
		FROM media`, &numbers[0], &numbers[1], &numbers[2], &numbers[3], &numbers[4], &numbers[5], &numbers[6], &numbers[7],
		&texts[0], &texts[1], &texts[2], &texts[3])
	require.Equal(t, []int64{-5, 6, 7, 0, 1 << 33, 1920, 1080, 1500}, numbers[:8])
	require.Equal(t, []string{"video", "u", "n.mp4", "video/mp4"}, texts[:4])

	hash := m.ContentHash()
	a.row(t, "SELECT content_hash, version, kind, text, entities, date FROM message_revisions",
		&stored, &stored, &texts[0], &texts[1], &entities, &times[0])
	require.Equal(t, []string{"video", m.Text}, texts[:2])
	require.WithinDuration(t, m.EditDate, times[0], 0)
	a.row(t, "SELECT content_hash FROM message_revisions", &stored)
	require.Equal(t, hash[:], stored)
	require.NotContains(t, fmt.Sprint(a.dump(t)["messages"]), "0001-01-01", "what Telegram did not tell is NULL")
}

func (a *archive) text(t *testing.T) (text string) {
	t.Helper()
	a.row(t, "SELECT text FROM messages", &text)
	return text
}

func newerMessageWins(t *testing.T, a *archive) {
	require.Equal(t, 1, a.apply(t, post(3, 5, "newest")).Messages)
	require.Equal(t, "newest", a.text(t))
	require.Zero(t, a.apply(t, post(1, 0, "oldest")).Messages)
	require.Equal(t, "newest", a.text(t))
	require.Zero(t, a.apply(t, post(4, 6, "newer still")).Messages)
	require.Equal(t, "newer still", a.text(t))
}

func messagesFold(t *testing.T, a *archive) {
	outcome := a.apply(t, post(2, 5, "b"), post(3, 9, "c"), post(1, 0, "a"), post(2, 5, "b"))
	require.Equal(t, content.Outcome{Updates: 3, Messages: 1, Revisions: 3, Events: 4}, outcome)
	require.Equal(t, "c", a.text(t))
}

// deleted returns the change set of an update that says, seconds after the message was sent, that it is gone.
func deleted(id int64, seconds int) content.ChangeSet {
	change := update(id)
	change.Deletions = []content.Deletion{{
		Key:       content.MessageKey{Scope: content.ScopeShared, ChatID: someChat, MessageID: someMessage},
		DeletedAt: sent.Add(time.Duration(seconds) * time.Second),
	}}
	return change
}

func (a *archive) requireDeleted(t *testing.T, text string, seconds int) {
	t.Helper()
	var got string
	var at time.Time
	a.row(t, "SELECT text, deleted_at FROM messages", &got, &at)
	require.Equal(t, text, got)
	require.WithinDuration(t, sent.Add(time.Duration(seconds)*time.Second), at, 0)
}

func deletionStays(t *testing.T, a *archive) {
	a.apply(t, photo(1, 0, file("f")))
	require.Equal(t, content.Outcome{Updates: 1, Events: 1}, a.apply(t, deleted(2, 60)))
	a.requireDeleted(t, "", 60)
	require.Equal(t, 1, a.count(t, "media"), "the content stays")
	a.apply(t, post(3, 5, "b"))
	a.requireDeleted(t, "b", 60)
	require.Equal(t, content.Outcome{Updates: 2}, a.apply(t, deleted(4, 30), deleted(5, 90)), "it is told once")
	a.requireDeleted(t, "b", 30)
}

func deletionMayComeFirst(t *testing.T, a *archive) {
	require.Equal(t, content.Outcome{Updates: 1, Events: 1}, a.apply(t, deleted(1, 60)), "nobody has seen the message")
	var version []byte
	var date *time.Time
	a.row(t, "SELECT version, date FROM messages", &version, &date)
	require.Empty(t, version)
	require.Nil(t, date)
	require.Equal(t, content.Outcome{Updates: 1, Messages: 1, Revisions: 1, Events: 2}, a.apply(t, photo(2, 0, file("f"))))
	a.requireDeleted(t, "", 60)
	require.Equal(t, 1, a.count(t, "media"))
	require.Equal(t, []string{
		"message.created messages/0/-1001234567890/77", "message.deleted messages/0/-1001234567890/77",
		"message.revised messages/0/-1001234567890/77",
	}, a.events(t))
}

func rereadingIsNoNews(t *testing.T, a *archive) {
	old, better := post(1, 0, "half"), post(1, 0, "whole")
	better.Update.NormaliserVersion, better.Messages[0].NormaliserVersion = 2, 2
	better.Messages[0].Version = version(&better, 0)
	better.Update.Envelope.Origin = ingest.Replay
	unread := update(2)
	read := photo(2, 9, file("f"))
	read.Messages[0].Key.MessageID++
	read.Update.NormaliserVersion = 2
	require.Equal(t, 2, a.apply(t, old, unread).Events)
	require.Equal(t, content.Outcome{}, a.apply(t, better, read), "what is read in an old update is kept, and not told")
	var text string
	a.row(t, "SELECT text FROM messages WHERE kind = 'text'", &text)
	require.Equal(t, "whole", text)
	require.Equal(t, 2, a.count(t, "messages"))
	require.Equal(t, 3, a.count(t, "message_revisions"))
	require.Equal(t, 2, a.count(t, "platform_events"))

	fresh := photo(3, 9, file("g"))
	fresh.Messages[0].Key.MessageID++
	require.Equal(t, content.Outcome{Updates: 1, Messages: 1, Revisions: 1, Events: 2}, a.apply(t, fresh), "the first new update tells")
	require.Equal(t, 1, a.count(t, "media"))
}

func (a *archive) files(t *testing.T) (files []string) {
	t.Helper()
	a.each(t, "SELECT file_unique_id FROM media ORDER BY scope, chat_id, message_id, ordinal", func(scan func(...any) error) error {
		var file string
		err := scan(&file)
		files = append(files, file)
		return err
	})
	return files
}

func mediaLess(t *testing.T, a *archive) {
	a.apply(t, photo(1, 0, file("a")))
	a.apply(t, post(2, 5, "the photo was taken away"))
	require.Empty(t, a.files(t))
}

func mediaAreReplaced(t *testing.T, a *archive) {
	a.apply(t, photo(1, 0, file("a"), file("b")))
	require.Equal(t, []string{"a", "b"}, a.files(t))
	a.apply(t, photo(3, 9, file("c")), photo(2, 5, file("d"), file("e"), file("f")))
	require.Equal(t, []string{"c"}, a.files(t))
	a.apply(t, photo(2, 5, file("d"), file("e"), file("f")))
	require.Equal(t, []string{"c"}, a.files(t), "an older snapshot does not bring its media back")
}

// fileID returns what account calls the file f.
func (a *archive) fileID(t *testing.T, account int64) (id string, message int64) {
	t.Helper()
	source := ingest.Source{Transport: ingest.BotAPI, Account: account}.String()
	a.row(t, "SELECT file_id, message_id FROM media_files WHERE file_unique_id = 'f' AND source = '"+source+"'", &id, &message)
	return id, message
}

func filesBelongToAccounts(t *testing.T, a *archive) {
	named := func(id string) content.Media { return content.Media{Kind: "photo", FileUniqueID: "f", FileID: id} }
	there := of(otherBot, photo(2, 5, named("there")))
	a.apply(t, photo(1, 0, named("old")), photo(3, 9, named("new")), there, photo(4, 12, named("")))
	id, _ := a.fileID(t, someBot)
	require.Equal(t, "new", id)
	id, message := a.fileID(t, otherBot)
	require.Equal(t, "there", id)
	require.EqualValues(t, someMessage, message)
	a.apply(t, photo(5, 8, named("older")))
	id, _ = a.fileID(t, someBot)
	require.Equal(t, "new", id)
	a.apply(t, photo(6, 20, named("newest")))
	id, _ = a.fileID(t, someBot)
	require.Equal(t, "newest", id)
	require.Equal(t, 2, a.count(t, "media_files"))
}

func filesOutliveLosers(t *testing.T, a *archive) {
	a.apply(t, post(2, 5, "newest"))
	a.apply(t, photo(1, 0, file("f")))
	id, _ := a.fileID(t, someBot)
	require.Equal(t, "f-here", id)
	require.Empty(t, a.files(t))
}

func revisionsAreDistinct(t *testing.T, a *archive) {
	require.Equal(t, 1, a.apply(t, post(2, 5, "a")).Revisions)
	require.Equal(t, 1, a.apply(t, post(4, 9, "b")).Revisions)
	require.Zero(t, a.apply(t, post(1, 0, "a")).Revisions)
	require.Zero(t, a.apply(t, post(6, 20, "b")).Revisions)
	a.requireRevisions(t, map[string]int{"a": 0, "b": 9})
}

func revisionsOfOneBatch(t *testing.T, a *archive) {
	a.apply(t, post(9, 30, "newest"))
	require.Equal(t, 3, a.apply(t, post(3, 9, "c"), post(1, 0, "a"), post(2, 5, "b"), post(4, 11, "a")).Revisions)
	a.requireRevisions(t, map[string]int{"a": 0, "b": 5, "c": 9, "newest": 30})
}

func revisionsKeepFirstDate(t *testing.T, a *archive) {
	a.apply(t, post(1, 0, "a"))
	a.apply(t, post(2, 5, "b"))
	a.apply(t, post(3, 9, "a"))
	a.requireRevisions(t, map[string]int{"a": 0, "b": 5})
	require.Equal(t, "a", a.text(t))
}

// requireRevisions requires revisions with these texts, by the seconds after sent of their dates.
func (a *archive) requireRevisions(t *testing.T, want map[string]int) {
	t.Helper()
	got := map[string]int{}
	a.each(t, "SELECT text, date FROM message_revisions", func(scan func(...any) error) error {
		var text string
		var date time.Time
		err := scan(&text, &date)
		got[text] = int(date.Sub(sent) / time.Second)
		return err
	})
	require.Equal(t, want, got)
}

func chatsAreGuarded(t *testing.T, a *archive) {
	show := func(id int64, seconds int, title string) content.ChangeSet {
		change := update(id)
		change.Chats = []content.Chat{{
			ID: someChat, Version: version(&change, seconds), Type: content.Supergroup, Title: title, Username: "u" + title,
			FirstName: "f" + title, LastName: "l" + title, IsForum: title == "b",
		}}
		return change
	}
	requireChat := func(want string) {
		t.Helper()
		var kind, title, username, first, last string
		var forum bool
		a.row(t, "SELECT type, title, username, first_name, last_name, is_forum FROM chats", &kind, &title, &username, &first, &last, &forum)
		require.Equal(t, []string{"supergroup", want, "u" + want, "f" + want, "l" + want}, []string{kind, title, username, first, last})
		require.Equal(t, want == "b", forum)
	}
	a.apply(t, show(2, 5, "b"), show(1, 0, "a"))
	requireChat("b")
	a.apply(t, show(1, 0, "a"))
	requireChat("b")
	a.apply(t, show(3, 9, "c"))
	requireChat("c")
}

func versionsRise(t *testing.T, a *archive) {
	show := func(id int64, seconds int, title string) content.ChangeSet {
		change := update(id)
		change.Chats = []content.Chat{{ID: someChat, Version: version(&change, seconds), Title: title}}
		return change
	}
	a.apply(t, show(1, 0, "a"))
	a.apply(t, show(3, 9, "a"))
	a.apply(t, show(2, 5, "stale"))
	var title string
	a.row(t, "SELECT title FROM chats", &title)
	require.Equal(t, "a", title)
}

// seen returns a change set that shows a user: the profile at profile seconds after sent, and the language, if any, at language.
func seen(id int64, profile int, name string, language int, code string) content.ChangeSet {
	change := update(id)
	user := content.User{
		ID: 5, Version: version(&change, profile), IsBot: true, FirstName: name, LastName: "l" + name, Username: "u" + name, IsPremium: true,
	}
	if code != "" {
		user.LanguageVersion, user.LanguageCode = version(&change, language), code
	}
	change.Users = []content.User{user}
	return change
}

func userGroupsAreApart(t *testing.T, a *archive) {
	requireUser := func(name, code string) {
		t.Helper()
		var first, last, username, language string
		var bot, premium bool
		a.row(t, "SELECT first_name, last_name, username, language_code, is_bot, is_premium FROM users",
			&first, &last, &username, &language, &bot, &premium)
		require.Equal(t, []string{name, "l" + name, "u" + name, code}, []string{first, last, username, language})
		require.True(t, bot && premium)
	}
	a.apply(t, seen(1, 1, "a", 0, ""))
	requireUser("a", "")
	a.apply(t, seen(2, 2, "b", 2, "de"))
	requireUser("b", "de")
	a.apply(t, seen(3, 3, "c", 0, ""))
	requireUser("c", "de")
	a.apply(t, seen(4, 1, "older", 4, "fr"))
	requireUser("c", "fr")
	a.apply(t, seen(5, 5, "e", 3, "stale"))
	requireUser("e", "fr")
	a.apply(t, seen(6, 4, "older", 3, "stale"))
	requireUser("e", "fr")
	a.apply(t, seen(7, 9, "g", 1, "stale"), seen(8, 8, "stale", 8, "it"), seen(9, 7, "stale", 0, ""))
	requireUser("g", "it")
}

func usersFold(t *testing.T, a *archive) {
	var changes []content.ChangeSet
	for i := range 20 {
		change := seen(int64(i), (i*7)%20, fmt.Sprint((i*7)%20), (i*3)%20, fmt.Sprint((i*3)%20))
		change.Users = append(change.Users, change.Users[0])
		changes = append(changes, change)
	}
	a.apply(t, changes...)
	require.Equal(t, 1, a.count(t, "users"))
	var name, code string
	a.row(t, "SELECT first_name, language_code FROM users", &name, &code)
	require.Equal(t, []string{"19", "19"}, []string{name, code})
}
