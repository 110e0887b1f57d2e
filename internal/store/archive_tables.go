package store

import (
	"time"

	"github.com/tgfleet/tgfleet/internal/content"
)

const (
	// earlierUpdate lets the first arrival count, and of copies of one envelope the one that was not asked for again.
	earlierUpdate = "(excluded.received_at, excluded.origin) < (updates.received_at, updates.origin)"
	newerReading  = "excluded.normaliser_version > updates.normaliser_version"
)

var updatesTable = table[*updateRow]{
	name: "updates",
	key:  []string{"day", "source", "update_id", "hash"},
	columns: []column[*updateRow]{
		{"day", ofDay, func(u *updateRow) any { return u.day }},
		{"source", ofText, func(u *updateRow) any { return u.source }},
		{"update_id", ofNumber, func(u *updateRow) any { return u.read.UpdateID }},
		{"hash", ofBytes, func(u *updateRow) any { return u.hash[:] }},
		{"received_at", ofTime, func(u *updateRow) any { return u.arrived.ReceivedAt }},
		{"kind", ofText, func(u *updateRow) any { return string(u.read.Kind) }},
		{"chat_id", ofNumber, func(u *updateRow) any { return numberOrNull(u.read.ChatID) }},
		{"origin", ofNumber, func(u *updateRow) any { return int64(u.arrived.Origin) }},
		{"format", ofNumber, func(u *updateRow) any { return int64(u.arrived.Format) }},
		{"layer", ofNumber, func(u *updateRow) any { return int64(u.arrived.Layer) }},
		{"normaliser_version", ofNumber, func(u *updateRow) any { return int64(u.read.NormaliserVersion) }},
		{"request", ofBytes, func(u *updateRow) any { return bytesOrNull(u.arrived.Request) }},
		{"payload", ofBytes, func(u *updateRow) any { return bytesOrEmpty(u.arrived.Raw) }},
	},
	groups: []group{
		{newer: earlierUpdate, columns: []string{"received_at", "origin", "format", "layer", "request"}},
		{newer: newerReading, columns: []string{"kind", "chat_id", "normaliser_version"}},
	},
}

// A message, or a content of one, is announced by an event once, by the first new update that shows it. What is there before, as a stub or
// because it was only read again, is not announced yet.
const (
	messageAnnounced  = "excluded.announced AND NOT messages.announced"
	revisionAnnounced = "excluded.announced AND NOT message_revisions.announced"
)

const goneEarlier = "excluded.deleted_at < messages.deleted_at OR excluded.deleted_at IS NOT NULL AND messages.deleted_at IS NULL"

// messagesTable also takes stubs: messages of which nothing is known but their deletion. Their version is the empty one, older than any
// snapshot.
var messagesTable = table[*messageRow]{
	name: "messages",
	key:  []string{"scope", "chat_id", "message_id"},
	columns: []column[*messageRow]{
		{"scope", ofNumber, func(m *messageRow) any { return int64(m.newest.Key.Scope) }},
		{"chat_id", ofNumber, func(m *messageRow) any { return int64(m.newest.Key.ChatID) }},
		{"message_id", ofNumber, func(m *messageRow) any { return int64(m.newest.Key.MessageID) }},
		{"version", ofBytes, func(m *messageRow) any { return versionBytes(m.newest.Version) }},
		{"kind", ofText, func(m *messageRow) any { return string(m.newest.Kind) }},
		{"normaliser_version", ofNumber, func(m *messageRow) any { return int64(m.newest.NormaliserVersion) }},
		{"message_thread_id", ofNumber, func(m *messageRow) any { return numberOrNull(m.newest.ThreadID) }},
		{"is_topic_message", ofFlag, func(m *messageRow) any { return m.newest.IsTopicMessage }},
		{"from_id", ofNumber, func(m *messageRow) any { return numberOrNull(m.newest.FromID) }},
		{"sender_chat_id", ofNumber, func(m *messageRow) any { return numberOrNull(m.newest.SenderChatID) }},
		{"via_bot_id", ofNumber, func(m *messageRow) any { return numberOrNull(m.newest.ViaBotID) }},
		{"author_signature", ofText, func(m *messageRow) any { return textOrNull(m.newest.AuthorSignature) }},
		{"business_connection_id", ofText, func(m *messageRow) any { return textOrNull(m.newest.BusinessConnectionID) }},
		{"date", ofTime, func(m *messageRow) any { return timeOrNull(m.newest.Date) }},
		{"edit_date", ofTime, func(m *messageRow) any { return timeOrNull(m.newest.EditDate) }},
		{"text", ofText, func(m *messageRow) any { return m.newest.Text }},
		{"entities", ofJSON, func(m *messageRow) any { return textOrNull(m.newest.entities) }},
		{"content", ofJSON, func(m *messageRow) any { return textOrNull(string(m.newest.Content)) }},
		{"rest", ofJSON, func(m *messageRow) any { return textOrNull(string(m.newest.Rest)) }},
		{"media_group_id", ofText, func(m *messageRow) any { return textOrNull(m.newest.MediaGroupID) }},
		{"reply_to_chat_id", ofNumber, func(m *messageRow) any { return numberOrNull(m.newest.ReplyTo.ChatID) }},
		{"reply_to_message_id", ofNumber, func(m *messageRow) any { return numberOrNull(m.newest.ReplyTo.MessageID) }},
		{"quote", ofText, func(m *messageRow) any { return textOrNull(m.newest.ReplyTo.Quote) }},
		{"forward_origin_type", ofText, func(m *messageRow) any { return textOrNull(m.newest.Forward.OriginType) }},
		{"forward_date", ofTime, func(m *messageRow) any { return timeOrNull(m.newest.Forward.Date) }},
		{"forward_from_id", ofNumber, func(m *messageRow) any { return numberOrNull(m.newest.Forward.FromID) }},
		{"forward_sender_name", ofText, func(m *messageRow) any { return textOrNull(m.newest.Forward.SenderName) }},
		{"forward_chat_id", ofNumber, func(m *messageRow) any { return numberOrNull(m.newest.Forward.ChatID) }},
		{"forward_message_id", ofNumber, func(m *messageRow) any { return numberOrNull(m.newest.Forward.MessageID) }},
		{"forward_signature", ofText, func(m *messageRow) any { return textOrNull(m.newest.Forward.AuthorSignature) }},
		{"is_automatic_forward", ofFlag, func(m *messageRow) any { return m.newest.Forward.IsAutomatic }},
		{"announced", ofFlag, func(m *messageRow) any { return m.first != nil }},
		{"deleted_at", ofTime, func(m *messageRow) any { return timeOrNull(m.deletedAt) }},
	},
	groups: []group{
		{newer: "excluded.version > messages.version", columns: []string{
			"version", "kind", "normaliser_version", "message_thread_id", "is_topic_message", "from_id", "sender_chat_id", "via_bot_id",
			"author_signature", "business_connection_id", "date", "edit_date", "text", "entities", "content", "rest", "media_group_id",
			"reply_to_chat_id", "reply_to_message_id", "quote", "forward_origin_type", "forward_date", "forward_from_id", "forward_sender_name",
			"forward_chat_id", "forward_message_id", "forward_signature", "is_automatic_forward",
		}},
		{newer: messageAnnounced, columns: []string{"announced"}},
		// A deletion is only ever set, and the least known time of it counts.
		{newer: goneEarlier, columns: []string{"deleted_at"}},
	},
}

var mediaTable = table[*mediaRow]{
	name: "media",
	key:  []string{"scope", "chat_id", "message_id", "ordinal"},
	columns: []column[*mediaRow]{
		{"scope", ofNumber, func(m *mediaRow) any { return int64(m.key.Scope) }},
		{"chat_id", ofNumber, func(m *mediaRow) any { return int64(m.key.ChatID) }},
		{"message_id", ofNumber, func(m *mediaRow) any { return int64(m.key.MessageID) }},
		{"ordinal", ofNumber, func(m *mediaRow) any { return int64(m.ordinal) }},
		{"kind", ofText, func(m *mediaRow) any { return m.media.Kind }},
		{"file_unique_id", ofText, func(m *mediaRow) any { return m.media.FileUniqueID }},
		{"file_name", ofText, func(m *mediaRow) any { return textOrNull(m.media.FileName) }},
		{"mime_type", ofText, func(m *mediaRow) any { return textOrNull(m.media.MIMEType) }},
		{"size_bytes", ofNumber, func(m *mediaRow) any { return numberOrNull(m.media.SizeBytes) }},
		{"width", ofNumber, func(m *mediaRow) any { return numberOrNull(m.media.Width) }},
		{"height", ofNumber, func(m *mediaRow) any { return numberOrNull(m.media.Height) }},
		{"duration_ms", ofNumber, func(m *mediaRow) any { return numberOrNull(m.media.Duration.Milliseconds()) }},
		{"rest", ofJSON, func(m *mediaRow) any { return textOrNull(string(m.media.Rest)) }},
	},
}

var mediaFilesTable = table[*fileRow]{
	name: "media_files",
	key:  []string{"file_unique_id", "source"},
	columns: []column[*fileRow]{
		{"file_unique_id", ofText, func(f *fileRow) any { return f.media.FileUniqueID }},
		{"source", ofText, func(f *fileRow) any { return f.in.source }},
		{"version", ofBytes, func(f *fileRow) any { return versionBytes(f.in.Version) }},
		{"file_id", ofText, func(f *fileRow) any { return f.media.FileID }},
		{"scope", ofNumber, func(f *fileRow) any { return int64(f.in.Key.Scope) }},
		{"chat_id", ofNumber, func(f *fileRow) any { return int64(f.in.Key.ChatID) }},
		{"message_id", ofNumber, func(f *fileRow) any { return int64(f.in.Key.MessageID) }},
	},
	groups: []group{{newer: "excluded.version > media_files.version", columns: []string{
		"version", "file_id", "scope", "chat_id", "message_id",
	}}},
}

var revisionsTable = table[*snapshot]{
	name: "message_revisions",
	key:  []string{"scope", "chat_id", "message_id", "content_hash"},
	columns: []column[*snapshot]{
		{"scope", ofNumber, func(s *snapshot) any { return int64(s.Key.Scope) }},
		{"chat_id", ofNumber, func(s *snapshot) any { return int64(s.Key.ChatID) }},
		{"message_id", ofNumber, func(s *snapshot) any { return int64(s.Key.MessageID) }},
		{"content_hash", ofBytes, func(s *snapshot) any { return s.hash[:] }},
		{"version", ofBytes, func(s *snapshot) any { return versionBytes(s.Version) }},
		{"date", ofTime, func(s *snapshot) any { return s.producedAt() }},
		{"kind", ofText, func(s *snapshot) any { return string(s.Kind) }},
		{"text", ofText, func(s *snapshot) any { return s.Text }},
		{"entities", ofJSON, func(s *snapshot) any { return textOrNull(s.entities) }},
		{"announced", ofFlag, func(s *snapshot) any { return s.announces }},
	},
	groups: []group{
		// The hash says that kind, text and entities are the same, but for the order of the entities.
		{newer: "excluded.version < message_revisions.version", columns: []string{"version", "date", "entities"}},
		{newer: revisionAnnounced, columns: []string{"announced"}},
	},
}

var eventsTable = table[*eventRow]{
	name: "platform_events",
	key:  []string{"id"},
	columns: []column[*eventRow]{
		{"id", ofUUID, func(e *eventRow) any { return e.ID }},
		{"type", ofText, func(e *eventRow) any { return string(e.Type) }},
		{"source", ofText, func(e *eventRow) any { return e.source }},
		{"subject", ofText, func(e *eventRow) any { return e.Subject }},
		{"time", ofTime, func(e *eventRow) any { return e.Time }},
		{"data", ofJSON, func(e *eventRow) any { return string(e.Data) }},
		{"received_at", ofTime, func(e *eventRow) any { return e.receivedAt }},
	},
}

var deadLettersTable = table[*letterRow]{
	name: "dead_letters",
	key:  []string{"source", "hash"},
	columns: []column[*letterRow]{
		{"source", ofText, func(d *letterRow) any { return d.source }},
		{"update_id", ofNumber, func(d *letterRow) any { return d.UpdateID }},
		{"hash", ofBytes, func(d *letterRow) any { return d.hash[:] }},
		{"class", ofText, func(d *letterRow) any { return d.Class }},
		{"error", ofText, func(d *letterRow) any { return d.Error }},
		{"normaliser_version", ofNumber, func(d *letterRow) any { return int64(d.NormaliserVersion) }},
		{"received_at", ofTime, func(d *letterRow) any { return d.Envelope.ReceivedAt }},
		{"died_at", ofTime, func(d *letterRow) any { return d.DiedAt }},
		{"origin", ofNumber, func(d *letterRow) any { return int64(d.Envelope.Origin) }},
		{"format", ofNumber, func(d *letterRow) any { return int64(d.Envelope.Format) }},
		{"layer", ofNumber, func(d *letterRow) any { return int64(d.Envelope.Layer) }},
		{"request", ofBytes, func(d *letterRow) any { return bytesOrNull(d.Envelope.Request) }},
		{"payload", ofBytes, func(d *letterRow) any { return bytesOrEmpty(d.Envelope.Raw) }},
	},
}

var chatsTable = table[*content.Chat]{
	name: "chats",
	key:  []string{"id"},
	columns: []column[*content.Chat]{
		{"id", ofNumber, func(c *content.Chat) any { return int64(c.ID) }},
		{"version", ofBytes, func(c *content.Chat) any { return versionBytes(c.Version) }},
		{"type", ofText, func(c *content.Chat) any { return string(c.Type) }},
		{"title", ofText, func(c *content.Chat) any { return c.Title }},
		{"username", ofText, func(c *content.Chat) any { return c.Username }},
		{"first_name", ofText, func(c *content.Chat) any { return c.FirstName }},
		{"last_name", ofText, func(c *content.Chat) any { return c.LastName }},
		{"is_forum", ofFlag, func(c *content.Chat) any { return c.IsForum }},
	},
	groups: []group{{newer: "excluded.version > chats.version", columns: []string{
		"version", "type", "title", "username", "first_name", "last_name", "is_forum",
	}}},
}

var usersTable = table[*userRow]{
	name: "users",
	key:  []string{"id"},
	columns: []column[*userRow]{
		{"id", ofNumber, func(u *userRow) any { return int64(u.id) }},
		{"version", ofBytes, func(u *userRow) any { return versionBytes(u.profile.Version) }},
		{"is_bot", ofFlag, func(u *userRow) any { return u.profile.IsBot }},
		{"first_name", ofText, func(u *userRow) any { return u.profile.FirstName }},
		{"last_name", ofText, func(u *userRow) any { return u.profile.LastName }},
		{"username", ofText, func(u *userRow) any { return u.profile.Username }},
		{"is_premium", ofFlag, func(u *userRow) any { return u.profile.IsPremium }},
		{"language_version", ofBytes, func(u *userRow) any { return versionBytes(u.languageVersion()) }},
		{"language_code", ofText, func(u *userRow) any { return u.languageCode() }},
	},
	groups: []group{
		{newer: "excluded.version > users.version", columns: []string{
			"version", "is_bot", "first_name", "last_name", "username", "is_premium",
		}},
		{newer: "excluded.language_version > users.language_version", columns: []string{"language_version", "language_code"}},
	},
}

// spoolColumns name the spool rows that a batch carries out.
var spoolColumns = []column[int64]{{"id", ofNumber, func(id int64) any { return id }}}

// versionBytes returns v as both databases compare it: byte by byte. It is never nil, because nil is NULL.
func versionBytes(v content.Version) []byte { return append(make([]byte, 0, len(v)), v...) }

func numberOrNull[N ~int | ~int64](n N) any {
	if n == 0 {
		return nil
	}
	return int64(n)
}

func textOrNull(s string) any {
	if s == "" {
		return nil
	}
	return s
}

func timeOrNull(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t
}

func bytesOrNull(b []byte) any {
	if len(b) == 0 {
		return nil
	}
	return b
}

func bytesOrEmpty(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}
