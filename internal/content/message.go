package content

import (
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"time"
)

// MessageKey names a message for ever.
type MessageKey struct {
	Scope     Scope
	ChatID    ChatID
	MessageID MessageID
}

// Deletion says that a message is gone.
type Deletion struct {
	Key                  MessageKey
	BusinessConnectionID string
	// DeletedAt is the least time at which the message is known to be gone; the time of receipt where Telegram tells none.
	DeletedAt time.Time
}

// MessageKind is what a message mainly is: `text`, a media kind, `service` ...; the words are the Bot API's field names.
type MessageKind string

// Message is a snapshot of a message. Zero ids, times and empty strings mean that Telegram told none.
type Message struct {
	Key     MessageKey
	Version Version
	Kind    MessageKind
	// NormaliserVersion is the version of the normaliser that read the snapshot.
	NormaliserVersion uint16

	ThreadID             MessageID
	IsTopicMessage       bool
	FromID               UserID
	SenderChatID         ChatID
	ViaBotID             UserID
	AuthorSignature      string
	BusinessConnectionID string
	Date                 time.Time
	EditDate             time.Time

	// Text is the text or the caption, with U+0000 and lone surrogates as U+FFFD.
	Text         string
	Entities     []Entity
	MediaGroupID string
	Media        []Media
	// Content is what Telegram tells under the name of Kind, where Kind is neither text nor a file: a contact, a poll, who joined.
	Content JSON
	// Rest is what Telegram tells of the message beyond these fields, by Telegram's names: a keyboard, an effect.
	Rest JSON

	ReplyTo Reply
	Forward Forward
}

// Entity is a marked part of a message's text. Offset and Length count UTF-16 code units, as Telegram does.
// Source: https://core.telegram.org/bots/api#messageentity.
type Entity struct {
	Type          string `json:"type"`
	Offset        int    `json:"offset"`
	Length        int    `json:"length"`
	URL           string `json:"url,omitempty"`
	UserID        UserID `json:"user_id,omitempty"`
	Language      string `json:"language,omitempty"`
	CustomEmojiID string `json:"custom_emoji_id,omitempty"`
	// UnixTime is the moment that a date_time shows, and DateTimeFormat how it is shown.
	UnixTime       int64  `json:"unix_time,omitempty"`
	DateTimeFormat string `json:"date_time_format,omitempty"`
}

// Reply is what a message answers. The zero Reply answers nothing.
type Reply struct {
	// ChatID is set only when the answered message is in another chat.
	ChatID    ChatID
	MessageID MessageID
	// Quote is the part of the answered message that the sender chose to quote.
	Quote string
}

// Forward is where a forwarded message comes from. The zero Forward says that the message is no forward.
type Forward struct {
	// OriginType is the Bot API's word: user, hidden_user, chat or channel.
	OriginType      string
	Date            time.Time
	FromID          UserID
	SenderName      string
	ChatID          ChatID
	MessageID       MessageID
	AuthorSignature string
	// IsAutomatic is true for a channel's post that Telegram itself copied into the discussion group.
	IsAutomatic bool
}

// Media is one file of a message. For a photo it is the largest of its sizes.
type Media struct {
	// Kind is the Bot API's word: photo, video, animation, audio, voice, video_note, document, sticker ...
	Kind string
	// FileUniqueID is the same for every account.
	FileUniqueID string
	// FileID belongs to the receiving account and is good for nobody else.
	FileID    string
	FileName  string
	MIMEType  string
	SizeBytes int64
	Width     int
	Height    int
	Duration  time.Duration
	// Rest is what Telegram tells of the file beyond these fields, by Telegram's names: a performer, an emoji, a thumbnail.
	Rest JSON
}

// ContentHash is the first 128 bits of SHA-256 over a message's canonical content.
type ContentHash [16]byte

// ContentHash returns the hash of what makes two snapshots of one message the same to a reader: the text, its entities, and
// its media by kind and file_unique_id. Dates, keyboards, reactions and whatever only some sources see stay out, so that every source
// computes the same hash for the same content and a change of them is no revision.
func (m *Message) ContentHash() ContentHash {
	h := canonical{make([]byte, 0, 256+len(m.Text))}
	h.text(string(m.Kind))
	h.text(m.Text)
	h.number(int64(len(m.Entities)))
	for _, e := range sortedEntities(m.Entities) {
		h.text(e.Type)
		h.number(int64(e.Offset))
		h.number(int64(e.Length))
		h.text(e.URL)
		h.number(int64(e.UserID))
		h.text(e.Language)
		h.text(e.CustomEmojiID)
		// The fields of the one type that came later follow it alone, so that the hashes of all other content stay as they were.
		if e.Type == "date_time" {
			h.number(e.UnixTime)
			h.text(e.DateTimeFormat)
		}
	}
	h.number(int64(len(m.Media)))
	for i := range m.Media {
		h.text(m.Media[i].Kind)
		h.text(m.Media[i].FileUniqueID)
	}
	sum := sha256.Sum256(h.b)
	return ContentHash(sum[:16])
}

// sortedEntities returns the entities in one order for all sources; Telegram promises none for entities of one offset.
func sortedEntities(entities []Entity) []Entity {
	byPlace := func(a, b Entity) int {
		switch {
		case a.Offset != b.Offset:
			return a.Offset - b.Offset
		case a.Length != b.Length:
			return b.Length - a.Length
		case a.Type < b.Type:
			return -1
		case a.Type > b.Type:
			return 1
		default:
			return 0
		}
	}
	if slices.IsSortedFunc(entities, byPlace) {
		return entities
	}
	sorted := slices.Clone(entities)
	slices.SortStableFunc(sorted, byPlace)
	return sorted
}

// canonical writes values so that no two different sequences of them give the same bytes.
type canonical struct{ b []byte }

func (c *canonical) number(n int64) { c.b = binary.AppendVarint(c.b, n) }

func (c *canonical) text(s string) {
	c.number(int64(len(s)))
	c.b = append(c.b, s...)
}
