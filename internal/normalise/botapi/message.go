package botapi

import (
	"crypto/sha256"
	"encoding/binary"
	"reflect"
	"strconv"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/tgfleet/tgfleet/internal/content"
	"github.com/tgfleet/tgfleet/internal/normalise"
)

// kindUnknown is the kind of a message whose content the Bot API of today does not name.
const kindUnknown content.MessageKind = "unknown"

// lastSecond is the last second that all of the archive's columns and versions can hold: 9999-12-31T23:59:59Z.
const lastSecond = 253_402_300_799

// builder gathers what one update says. Everything in it is one snapshot, so everything has one version.
type builder struct {
	update  *content.Update
	version content.Version
	changes content.ChangeSet
	// userAt finds users once there are many.
	userAt map[content.UserID]int
	// wrong is the path of the first thing that can't be, below the kind's field, and what would be right.
	wrong string
}

// reject remembers the first thing that can't be.
func (b *builder) reject(path, want string) {
	if b.wrong == "" {
		b.wrong = path + ": want " + want
	}
}

// message adds m, its chats and its users. A message must say its chat, its id and its date.
func (b *builder) message(m *message) {
	id := m.MessageID
	if id == 0 || m.ephemeral() {
		id = m.EphemeralMessageID
	}
	if m.MessageID < 0 || id <= 0 {
		b.reject("/message_id", "a positive number")
	}
	if m.Date == 0 {
		b.reject("/date", "a date")
	}
	date, editDate := b.time(m.Date, "/date"), b.time(m.EditDate, "/edit_date")
	b.version = content.NewVersion(b.stamp(date, editDate))
	kind, value, files := m.kind()

	out := content.Message{
		Key: content.MessageKey{
			Scope:     b.scope(m),
			ChatID:    b.chat(&m.Chat, "/chat"),
			MessageID: content.MessageID(id),
		},
		Version:              b.version,
		Kind:                 kind,
		NormaliserVersion:    normalise.Version,
		ThreadID:             content.MessageID(m.MessageThreadID),
		IsTopicMessage:       m.IsTopicMessage,
		FromID:               b.user(m.From, "/from"),
		SenderChatID:         b.chat(m.SenderChat, "/sender_chat"),
		ViaBotID:             b.user(m.ViaBot, "/via_bot"),
		AuthorSignature:      m.AuthorSignature,
		BusinessConnectionID: m.BusinessConnectionID,
		Date:                 date,
		EditDate:             editDate,
		MediaGroupID:         m.MediaGroupID,
		Media:                files,
		ReplyTo:              m.replyTo(),
		Forward:              b.forward(m),
	}
	if m.Text != "" {
		out.Text, out.Entities = m.Text, b.entities(m.Entities, "/entities")
	} else {
		out.Text, out.Entities = m.Caption, b.entities(m.CaptionEntities, "/caption_entities")
	}
	out.Content, out.Rest = b.content(m, kind, value), restOf(m.Rest)
	b.changes.Messages = []content.Message{out}
}

// ephemeral tells whether m is numbered by its ephemeral_message_id: the message_id of such a message is 0.
func (m *message) ephemeral() bool { return m.EphemeralMessageID != 0 }

// content returns the value that m has under the name of its kind, and adds what follows from it for more than the message.
func (b *builder) content(m *message, kind content.MessageKind, value jsontext.Value) content.JSON {
	if value == nil {
		return ""
	}
	path := "/" + string(kind)
	switch kind {
	case "new_chat_members":
		var joined []user
		b.read(value, &joined, path, "an array of users")
		for i := range joined {
			b.user(&joined[i], path)
		}
	case "left_chat_member":
		var left user
		b.read(value, &left, path, "a user")
		b.user(&left, path)
	case "poll":
		var p poll
		b.read(value, &p, path, "a poll")
		b.poll(&p, path)
	case "migrate_to_chat_id":
		b.migration(content.ChatID(m.Chat.ID), b.chatID(value, path), m.Date)
	case "migrate_from_chat_id":
		b.migration(b.chatID(value, path), content.ChatID(m.Chat.ID), m.Date)
	}
	return textOf(value)
}

// read decodes the value of a field of a message into to.
func (b *builder) read(value jsontext.Value, to any, path, want string) {
	if json.Unmarshal(value, to) != nil {
		b.reject(path, want)
	}
}

func (b *builder) chatID(value jsontext.Value, path string) content.ChatID {
	var id int64
	b.read(value, &id, path, "the id of a chat")
	if id == 0 {
		b.reject(path, "the id of a chat")
	}
	return content.ChatID(id)
}

func (b *builder) migration(from, to content.ChatID, date int64) {
	b.changes.ChatAliases = []content.ChatAlias{{ChatID: from, MigratedToChatID: to, Date: b.time(date, "/date")}}
}

// deletedMessages adds that messages of a business account's chat are gone. Telegram does not say since when: it is known from the time
// of receipt on.
func (b *builder) deletedMessages(d *deletedMessages) {
	if d.BusinessConnectionID == "" {
		b.reject("/business_connection_id", "the id of a connection")
	}
	received := b.update.Envelope.ReceivedAt
	b.version = content.NewVersion(b.undated())
	chat := b.chat(&d.Chat, "/chat")
	for _, id := range d.MessageIDs {
		if id <= 0 {
			b.reject("/message_ids", "positive numbers")
		}
		b.changes.Deletions = append(b.changes.Deletions, content.Deletion{
			Key: content.MessageKey{
				Scope: businessScope(d.BusinessConnectionID), ChatID: chat, MessageID: content.MessageID(id),
			},
			BusinessConnectionID: d.BusinessConnectionID,
			DeletedAt:            received,
		})
	}
}

// stamp says when Telegram produced the update. An edit_date makes an edit of any kind: Telegram may deliver a
// message for the first time after it was edited, and that snapshot is as new as the edit. An edit that tells no
// edit_date is placed by when it came.
func (b *builder) stamp(date, editDate time.Time) content.Stamp {
	s := b.origin()
	s.Date = date
	switch {
	case !editDate.IsZero():
		s.Date, s.Edit = editDate, true
	case b.update.Kind == kindEditedMessage || b.update.Kind == kindEditedChannelPost || b.update.Kind == kindEditedBusinessMessage:
		s.Edit, s.Undated = true, b.update.Envelope.ReceivedAt
	}
	return s
}

// undated is the stamp of what an update of a kind without a date shows: older than all that is dated, so that no clock of ours can
// overrule Telegram's.
func (b *builder) undated() content.Stamp {
	s := b.origin()
	s.Undated = b.update.Envelope.ReceivedAt
	return s
}

// origin is what all stamps of one update share.
func (b *builder) origin() content.Stamp {
	return content.Stamp{
		Source: b.update.Envelope.Source, Sequence: b.update.UpdateID, Hash: b.update.Hash, Normaliser: normalise.Version,
	}
}

// scope returns whose numbering m's id belongs to. A message of a business connection "belongs to a chat of the
// corresponding business account that is independent from any potential bot chat which might share the same
// identifier"; an ephemeral one is numbered for whoever received it; and a guest sees a message of a chat that is not
// the guest's own, through one query.
func (b *builder) scope(m *message) content.Scope {
	if b.update.Kind == kindGuestMessage && m.BusinessConnectionID == "" {
		return hashedScope("guest:" + m.GuestQueryID)
	}
	return b.scopeAmong(&m.Chat, m.BusinessConnectionID, m.EphemeralMessageID)
}

// scopeAmong returns whose numbering the id of a message of c belongs to, by the connection and the ephemeral id that it tells, if any.
func (b *builder) scopeAmong(c *chat, connectionID string, ephemeralID int64) content.Scope {
	switch {
	case connectionID != "":
		return businessScope(connectionID)
	case ephemeralID != 0:
		return hashedScope("ephemeral:" + strconv.FormatInt(b.update.Envelope.Source.Account, 10))
	}
	return b.scopeOf(c)
}

// scopeOf returns whose numbering the ids of c's ordinary messages belong to.
func (b *builder) scopeOf(c *chat) content.Scope {
	t := content.ChatType(c.Type)
	switch t {
	case content.Private, content.Group, content.Supergroup, content.Channel:
	default:
		t = typeOf(c.ID)
	}
	return content.ScopeOf(t, b.update.Envelope.Source.Account)
}

// businessScope returns the scope of the messages that a business connection shows.
func businessScope(connectionID string) content.Scope { return hashedScope("business:" + connectionID) }

// hashedScope returns the negative 62-bit hash of name.
func hashedScope(name string) content.Scope {
	sum := sha256.Sum256([]byte(name))
	hash := binary.BigEndian.Uint64(sum[:8]) >> 2
	return -1 - content.Scope(hash)
}

// typeOf returns a chat type with the numbering of the chat that id names.
func typeOf(id int64) content.ChatType {
	_, isChannel := content.ChatID(id).Channel()
	switch {
	case isChannel:
		return content.Supergroup
	case id > 0:
		return content.Private
	default:
		return content.Group
	}
}

// kind returns what m mainly is, by the name of the field that says so, that field's value where it is neither text nor a file, and m's files.
func (m *message) kind() (kind content.MessageKind, value jsontext.Value, files []content.Media) {
	kind, files = m.files()
	switch {
	case m.Text != "":
		kind = "text"
	case kind == "":
		kind, value = m.first()
	}
	return kind, value, files
}

// first returns the name of the first field that was there, and its value.
func (k *marks) first() (content.MessageKind, jsontext.Value) {
	fields := reflect.ValueOf(k).Elem()
	for i := range fields.NumField() {
		if m, is := reflect.TypeAssert[*mark](fields.Field(i).Addr()); is && m.value != nil {
			return content.MessageKind(fields.Type().Field(i).Tag.Get("json")), *m.value
		}
	}
	return kindUnknown, nil
}

// replyTo returns what m answers. Replies within the chat come as reply_to_message, also to an
// InaccessibleMessage; those to another chat or topic as external_reply, which may hide the message's name. Only an ephemeral message can
// name another one: the number of an ephemeral message belongs to its receiver.
func (m *message) replyTo() content.Reply {
	var r content.Reply
	switch {
	case m.ReplyToMessage != nil:
		r.ChatID, r.MessageID = content.ChatID(m.ReplyToMessage.Chat.ID), content.MessageID(m.ReplyToMessage.MessageID)
		if m.ephemeral() && r.MessageID == 0 {
			r.MessageID = content.MessageID(m.ReplyToMessage.EphemeralMessageID)
		}
	case m.ExternalReply != nil:
		r.ChatID, r.MessageID = content.ChatID(m.ExternalReply.Chat.ID), content.MessageID(m.ExternalReply.MessageID)
	}
	if r.ChatID == content.ChatID(m.Chat.ID) {
		r.ChatID = 0
	}
	if m.Quote != nil {
		r.Quote = m.Quote.Text
	}
	return r
}

// forward returns where m comes from.
func (b *builder) forward(m *message) content.Forward {
	f := content.Forward{IsAutomatic: m.IsAutomaticForward}
	o := m.ForwardOrigin
	if o == nil {
		return f
	}
	f.OriginType = o.Type
	f.Date = b.time(o.Date, "/forward_origin/date")
	f.FromID = b.user(o.SenderUser, "/forward_origin/sender_user")
	f.SenderName = o.SenderUserName
	f.ChatID = b.chat(o.SenderChat, "/forward_origin/sender_chat")
	if o.Chat != nil {
		f.ChatID = b.chat(o.Chat, "/forward_origin/chat")
	}
	f.MessageID = content.MessageID(o.MessageID)
	f.AuthorSignature = o.AuthorSignature
	return f
}

// entities returns the marked parts of a text, and adds the users that they mention.
func (b *builder) entities(list []entity, path string) []content.Entity {
	if len(list) == 0 {
		return nil
	}
	out := make([]content.Entity, len(list))
	for i := range list {
		e := &list[i]
		out[i] = content.Entity{
			Type:           e.Type,
			Offset:         int(e.Offset),
			Length:         int(e.Length),
			URL:            e.URL,
			UserID:         b.user(e.User, path+"/user"),
			Language:       e.Language,
			CustomEmojiID:  e.CustomEmojiID,
			UnixTime:       e.UnixTime,
			DateTimeFormat: e.DateTimeFormat,
		}
	}
	return out
}

// user adds a snapshot of u, once for each user, and returns its id. nil is nobody.
func (b *builder) user(u *user, path string) content.UserID {
	if u == nil {
		return 0
	}
	if u.ID <= 0 {
		b.reject(path+"/id", "a positive number")
	}
	id := content.UserID(u.ID)
	if known := b.known(id); known != nil {
		// Telegram tells the language of the sender only, and the sender may stand in a mention as well.
		if known.LanguageCode == "" && u.LanguageCode != "" {
			known.LanguageVersion, known.LanguageCode = b.version, u.LanguageCode
		}
		return id
	}
	snapshot := content.User{
		ID:        id,
		Version:   b.version,
		IsBot:     u.IsBot,
		FirstName: u.FirstName,
		LastName:  u.LastName,
		Username:  u.Username,
		IsPremium: u.IsPremium,
	}
	if u.LanguageCode != "" {
		snapshot.LanguageVersion, snapshot.LanguageCode = b.version, u.LanguageCode
	}
	b.changes.Users = append(b.changes.Users, snapshot)
	return id
}

// fewUsers is how many users are looked through one by one. Nearly every update has one or two; the map is there so
// that a body with a hundred thousand of them costs no more than its length.
const fewUsers = 16

// known returns the snapshot of the user that was added already, or nil.
func (b *builder) known(id content.UserID) *content.User {
	if len(b.changes.Users) <= fewUsers {
		for i := range b.changes.Users {
			if b.changes.Users[i].ID == id {
				return &b.changes.Users[i]
			}
		}
		return nil
	}
	if b.userAt == nil {
		b.userAt = make(map[content.UserID]int, 2*fewUsers)
	}
	for i := len(b.userAt); i < len(b.changes.Users); i++ {
		b.userAt[b.changes.Users[i].ID] = i
	}
	if i, ok := b.userAt[id]; ok {
		return &b.changes.Users[i]
	}
	return nil
}

// chat adds a snapshot of c, once for each chat, and returns its id. nil is none.
func (b *builder) chat(c *chat, path string) content.ChatID {
	if c == nil {
		return 0
	}
	if c.ID == 0 {
		b.reject(path+"/id", "the id of a chat")
	}
	id := content.ChatID(c.ID)
	for i := range b.changes.Chats {
		if b.changes.Chats[i].ID == id {
			return id
		}
	}
	b.changes.Chats = append(b.changes.Chats, content.Chat{
		ID:        id,
		Version:   b.version,
		Type:      content.ChatType(c.Type),
		Title:     c.Title,
		Username:  c.Username,
		FirstName: c.FirstName,
		LastName:  c.LastName,
		IsForum:   c.IsForum,
	})
	return id
}

// time returns the time that seconds of Unix time mean, and the zero time for 0.
func (b *builder) time(seconds int64, path string) time.Time {
	if seconds < 0 || seconds > lastSecond {
		b.reject(path, "a date")
	}
	if seconds == 0 {
		return time.Time{}
	}
	return time.Unix(seconds, 0).UTC()
}
