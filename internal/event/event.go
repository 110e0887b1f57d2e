// Package event holds the words for a change of state that leaves through the outbox, after the CloudEvents attributes
// (https://github.com/cloudevents/spec). An event is a pure function of one snapshot and its id is derived from that snapshot's key, so
// that the same change never becomes two events; a change of our own, which happens once, brings a name for that. An event names things
// and holds nothing of what people wrote.
package event

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"

	"github.com/tgfleet/tgfleet/internal/content"
	"github.com/tgfleet/tgfleet/internal/ingest"
)

// Type is what happened.
type Type string

// The types of events.
const (
	// MessageCreated says that a message was seen for the first time.
	MessageCreated Type = "message.created"
	// MessageRevised says that a message was seen with a content that it had not been seen with; the first content included.
	MessageRevised Type = "message.revised"
	// MessageDeleted says that a message is gone; it may never have been seen.
	MessageDeleted Type = "message.deleted"
	// ChatUpdated says that a group or a channel was seen under a name, or as what it had not been seen before; the first time included.
	ChatUpdated Type = "chat.updated"
	// ChatMigrated says that a basic group became a supergroup.
	ChatMigrated Type = "chat.migrated"
	// MemberChanged says that a user became something else in a chat.
	MemberChanged Type = "member.changed"
	// ReactionChanged says that somebody reacted to a message in another way than before, or how many anonymous reactions it has.
	ReactionChanged Type = "reaction.changed"
	// PollUpdated says that a poll stands otherwise than it was seen before, or that somebody voted.
	PollUpdated Type = "poll.updated"
	// InteractionReceived says that somebody asked something of a bot or did something for it.
	InteractionReceived Type = "interaction.received"
	// BusinessChanged says that a business account connected a bot, or changed or ended the connection.
	BusinessChanged Type = "business.changed"
	// ConnectorChanged says that a connector stands otherwise than before, or for another reason. It alone follows from no update.
	ConnectorChanged Type = "connector.changed"
)

// Event is one change of state. Delivery is at least once and unordered.
type Event struct {
	// ID is a UUID, derived from what the event is about.
	ID   string
	Type Type
	// Source is the account that saw the change first, or that changed.
	Source ingest.Source
	// Subject is the path of the thing that changed, such as messages/<scope>/<chat id>/<message id> or polls/<poll id>.
	Subject string
	// Time is when Telegram says that it happened; of a connector, when the database's clock does.
	Time time.Time
	// Data is a JSON object.
	Data json.RawMessage
}

// messageData is the data of the events about a message.
type messageData struct {
	Scope       content.Scope     `json:"scope"`
	ChatID      content.ChatID    `json:"chat_id"`
	MessageID   content.MessageID `json:"message_id"`
	Date        int64             `json:"date"`
	ContentHash string            `json:"content_hash,omitempty"`
	Origin      string            `json:"origin"`
}

// OfMessageCreated returns the event that m was seen for the first time, in an update of env's source and origin.
func OfMessageCreated(m *content.Message, env *ingest.Envelope) Event {
	return ofMessage(MessageCreated, m, env, m.Date, "")
}

// OfMessageRevised returns the event that m was seen for the first time with the content that hash stands for.
func OfMessageRevised(m *content.Message, hash content.ContentHash, env *ingest.Envelope) Event {
	at := m.Date
	if m.EditDate.After(at) {
		at = m.EditDate
	}
	return ofMessage(MessageRevised, m, env, at, hex.EncodeToString(hash[:]))
}

// deletionData is the data of the event that a message is gone.
type deletionData struct {
	Scope     content.Scope     `json:"scope"`
	ChatID    content.ChatID    `json:"chat_id"`
	MessageID content.MessageID `json:"message_id"`
	DeletedAt int64             `json:"deleted_at"`
	Origin    string            `json:"origin"`
}

// OfMessageDeleted returns the event that d's message is gone, told in an update of env's source and origin.
func OfMessageDeleted(d *content.Deletion, env *ingest.Envelope) Event {
	return of(MessageDeleted, fact{subject: Subject(d.Key), at: d.DeletedAt, data: deletionData{
		Scope: d.Key.Scope, ChatID: d.Key.ChatID, MessageID: d.Key.MessageID, DeletedAt: d.DeletedAt.Unix(), Origin: env.Origin.String(),
	}}, env)
}

func ofMessage(t Type, m *content.Message, env *ingest.Envelope, at time.Time, hash string) Event {
	return of(t, fact{subject: Subject(m.Key), detail: hash, at: at, data: messageData{
		Scope: m.Key.Scope, ChatID: m.Key.ChatID, MessageID: m.Key.MessageID,
		Date: m.Date.Unix(), ContentHash: hash, Origin: env.Origin.String(),
	}}, env)
}

// fact is what an event tells. Subject and detail name it: there is one event of a type for both.
type fact struct {
	subject, detail string
	at              time.Time
	data            any
}

func of(t Type, f fact, env *ingest.Envelope) Event { return from(t, f, env.Source) }

func from(t Type, f fact, source ingest.Source) Event {
	data, err := json.Marshal(f.data)
	if err != nil {
		panic(fmt.Sprintf("event: numbers, hex and names always marshal: %v", err))
	}
	return Event{
		ID: derivedID(string(t), f.subject, f.detail), Type: t, Source: source, Subject: f.subject, Time: f.at, Data: data,
	}
}

// Subject returns the subject of events about the message that key names.
func Subject(key content.MessageKey) string { return "messages/" + key.String() }

// derivedID returns a UUID of version 8 (RFC 9562, section 5.8) that is the same whenever its parts are.
func derivedID(parts ...string) string {
	b := make([]byte, 0, 128)
	for _, part := range parts {
		b = append(b, part...)
		b = append(b, 0)
	}
	sum := sha256.Sum256(b)
	id := sum[:16]
	id[6] = id[6]&0x0f | 0x80
	id[8] = id[8]&0x3f | 0x80
	text := hex.EncodeToString(id)
	return text[:8] + "-" + text[8:12] + "-" + text[12:16] + "-" + text[16:20] + "-" + text[20:]
}
