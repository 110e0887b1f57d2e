package store

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"gorm.io/gorm"

	"github.com/tgfleet/tgfleet/internal/content"
	"github.com/tgfleet/tgfleet/internal/fault"
)

// Messages reads the messages of the archive, chat by chat; Archive.Apply writes them. A chat means all ids that it has had: a basic
// group's and those of the supergroups that it became. Any number of goroutines may use it.
type Messages struct{ db *DB }

// Messages returns the repository for reading messages.
func (db *DB) Messages() *Messages { return &Messages{db: db} }

// Message is a message as the archive keeps it, under the ids with which it was delivered. Its media have no FileID, which belongs to
// one account.
type Message struct {
	content.Message
	// DeletedAt is when the message was gone at the latest, and the zero time while it is there. Of a message without a Date nothing is
	// known but its deletion.
	DeletedAt time.Time
}

// Place returns where m stands in the list of its chat.
func (m *Message) Place() MessagePlace {
	at := m.Date
	if at.IsZero() {
		at = m.DeletedAt
	}
	return MessagePlace{At: at, Key: m.Key}
}

// MessageFilter says which messages are meant: those that meet all its fields.
type MessageFilter struct {
	// ChatID is any id of the chat. It must be set.
	ChatID content.ChatID
	// MediaGroupID is the album that is meant; empty asks for nothing.
	MediaGroupID string
}

// MessagePage is some messages of a chat.
type MessagePage struct {
	// ChatIDs is all ids of the chat, in ascending order.
	ChatIDs []content.ChatID
	// Messages is the newest first: by when they were sent, or deleted where no more is known.
	Messages []Message
}

// List returns up to limit messages (a limit below 1 is 1) that filter means and that come after a place in the order from the newest to
// the oldest: the zero place is the beginning, and the place of the last message of a page leads to the next. A message that several
// accounts have received in a private chat or a basic group is there once for each of them. A chat without messages is an empty page.
func (m *Messages) List(ctx context.Context, filter MessageFilter, after MessagePlace, limit int) (MessagePage, error) {
	page, err := m.list(ctx, filter, after, max(limit, 1))
	if err != nil {
		return MessagePage{}, fmt.Errorf("list messages of chat %d: %w", filter.ChatID, classify(err))
	}
	return page, nil
}

func (m *Messages) list(ctx context.Context, filter MessageFilter, after MessagePlace, limit int) (page MessagePage, err error) {
	tx := m.db.read(ctx)
	if page.ChatIDs, err = chatIDs(tx, filter.ChatID); err != nil {
		return page, err
	}
	for _, id := range page.ChatIDs {
		for _, query := range messageQueries(tx, id, filter.MediaGroupID, after) {
			found, err := findMessages(query.Limit(limit))
			if err != nil {
				return page, err
			}
			page.Messages = append(page.Messages, found...)
		}
	}
	slices.SortFunc(page.Messages, func(a, b Message) int { return b.Place().compare(a.Place()) })
	page.Messages = page.Messages[:min(limit, len(page.Messages))]
	return page, addMedia(tx, page.Messages)
}

// messageQueries returns the queries that together find the messages of one id, and of one album when it is not empty. An index has the order
// of each but an album's: a chat may have millions of messages, and an album has a few.
func messageQueries(tx *gorm.DB, chat content.ChatID, album string, after MessagePlace) []*gorm.DB {
	if album != "" {
		return []*gorm.DB{messagesBy("coalesce(date, deleted_at)", tx, after).Where("chat_id = ? AND media_group_id = ?", chat, album)}
	}
	return []*gorm.DB{
		messagesBy("date", tx, after).Where("chat_id = ?", chat),
		messagesBy("deleted_at", tx, after).Where("chat_id = ? AND date IS NULL", chat),
	}
}

// messagesBy returns the query for the messages that have a time and come after a place, the newest first.
func messagesBy(at string, tx *gorm.DB, after MessagePlace) *gorm.DB {
	tx = tx.Where(at + " IS NOT NULL")
	if after != (MessagePlace{}) {
		place := instant{after.At}
		tx = tx.Where(at+" <= ? AND ("+at+" < ? OR (message_id, chat_id, scope) < (?, ?, ?))",
			place, place, after.Key.MessageID, after.Key.ChatID, after.Key.Scope)
	}
	return tx.Order(at + " DESC, message_id DESC, scope DESC")
}

// MessagePlace is a place in the list of a chat's messages. Places are ordered by time, then by the message's number.
type MessagePlace struct {
	At  time.Time
	Key content.MessageKey
}

func (p MessagePlace) compare(q MessagePlace) int {
	return cmp.Or(p.At.Compare(q.At), cmp.Compare(p.Key.MessageID, q.Key.MessageID), cmp.Compare(p.Key.ChatID, q.Key.ChatID),
		cmp.Compare(p.Key.Scope, q.Key.Scope))
}

// String writes the place so that ParseMessagePlace reads it: <time>/<scope>/<chat id>/<message id>.
func (p MessagePlace) String() string {
	return p.At.UTC().Format(time.RFC3339Nano) + "/" + p.Key.String()
}

// ParseMessagePlace returns the place that text names.
func ParseMessagePlace(text string) (MessagePlace, error) {
	wrong := fault.As(fault.Permanent, fmt.Errorf("%q: want <time>/<scope>/<chat id>/<message id>", text))
	parts := strings.Split(text, "/")
	if len(parts) != 4 {
		return MessagePlace{}, wrong
	}
	at, err := time.Parse(time.RFC3339Nano, parts[0])
	if err != nil {
		return MessagePlace{}, wrong
	}
	var numbers [3]int64
	for i := range numbers {
		if numbers[i], err = strconv.ParseInt(parts[1+i], 10, 64); err != nil {
			return MessagePlace{}, wrong
		}
	}
	return MessagePlace{At: at.UTC(), Key: content.MessageKey{
		Scope: content.Scope(numbers[0]), ChatID: content.ChatID(numbers[1]), MessageID: content.MessageID(numbers[2]),
	}}, nil
}

// keptMessage is a row of messages.
type keptMessage struct {
	Scope                content.Scope
	ChatID               content.ChatID
	MessageID            content.MessageID
	Version              []byte
	Kind                 content.MessageKind
	NormaliserVersion    uint16
	MessageThreadID      content.MessageID
	IsTopicMessage       bool
	FromID               content.UserID
	SenderChatID         content.ChatID
	ViaBotID             content.UserID
	AuthorSignature      string
	BusinessConnectionID string
	Date                 instant
	EditDate             instant
	Text                 string
	Entities             string
	Content              string
	Rest                 string
	MediaGroupID         string
	ReplyToChatID        content.ChatID
	ReplyToMessageID     content.MessageID
	Quote                string
	ForwardOriginType    string
	ForwardDate          instant
	ForwardFromID        content.UserID
	ForwardSenderName    string
	ForwardChatID        content.ChatID
	ForwardMessageID     content.MessageID
	ForwardSignature     string
	IsAutomaticForward   bool
	DeletedAt            instant
}

// TableName is for GORM.
func (keptMessage) TableName() string { return messagesTable.name }

func (k *keptMessage) message() (Message, error) {
	m := Message{DeletedAt: k.DeletedAt.Time, Message: content.Message{
		Key:     content.MessageKey{Scope: k.Scope, ChatID: k.ChatID, MessageID: k.MessageID},
		Version: content.Version(k.Version), Kind: k.Kind, NormaliserVersion: k.NormaliserVersion,
		ThreadID: k.MessageThreadID, IsTopicMessage: k.IsTopicMessage, FromID: k.FromID, SenderChatID: k.SenderChatID, ViaBotID: k.ViaBotID,
		AuthorSignature: k.AuthorSignature, BusinessConnectionID: k.BusinessConnectionID, Date: k.Date.Time, EditDate: k.EditDate.Time,
		Text: k.Text, MediaGroupID: k.MediaGroupID, Content: content.JSON(k.Content), Rest: content.JSON(k.Rest),
		ReplyTo: content.Reply{ChatID: k.ReplyToChatID, MessageID: k.ReplyToMessageID, Quote: k.Quote},
		Forward: content.Forward{
			OriginType: k.ForwardOriginType, Date: k.ForwardDate.Time, FromID: k.ForwardFromID, SenderName: k.ForwardSenderName,
			ChatID: k.ForwardChatID, MessageID: k.ForwardMessageID, AuthorSignature: k.ForwardSignature, IsAutomatic: k.IsAutomaticForward,
		},
	}}
	if k.Entities != "" && json.Unmarshal([]byte(k.Entities), &m.Entities) != nil {
		// Its error would quote what somebody wrote.
		return m, fault.As(fault.Permanent, fmt.Errorf("the entities of message %s can't be read", m.Key))
	}
	return m, nil
}

func findMessages(query *gorm.DB) ([]Message, error) {
	var found []keptMessage
	if err := query.Find(&found).Error; err != nil {
		return nil, err
	}
	messages := make([]Message, len(found))
	for i := range found {
		var err error
		if messages[i], err = found[i].message(); err != nil {
			return nil, err
		}
	}
	return messages, nil
}

// addMedia gives messages their files.
func addMedia(tx *gorm.DB, messages []Message) error {
	places := map[content.MessageKey]int{}
	var keys [3][]int64
	for i := range messages {
		key := messages[i].Key
		places[key] = i
		keys[0], keys[1], keys[2] = append(keys[0], int64(key.Scope)), append(keys[1], int64(key.ChatID)), append(keys[2], int64(key.MessageID))
	}
	for i := range keys {
		slices.Sort(keys[i])
		keys[i] = slices.Compact(keys[i])
	}
	var files []struct {
		Scope        content.Scope
		ChatID       content.ChatID
		MessageID    content.MessageID
		Kind         string
		FileUniqueID string
		FileName     string
		MimeType     string
		SizeBytes    int64
		Width        int
		Height       int
		DurationMs   int64
		Rest         string
	}
	// Keys that are combined of several messages' are looked for as well; there are few, and what they find is passed over.
	err := tx.Table(mediaTable.name).Where("scope IN ? AND chat_id IN ? AND message_id IN ?", keys[0], keys[1], keys[2]).
		Order("ordinal").Find(&files).Error
	for i := range files {
		f := &files[i]
		at, meant := places[content.MessageKey{Scope: f.Scope, ChatID: f.ChatID, MessageID: f.MessageID}]
		if !meant {
			continue
		}
		messages[at].Media = append(messages[at].Media, content.Media{
			Kind: f.Kind, FileUniqueID: f.FileUniqueID, FileName: f.FileName, MIMEType: f.MimeType, SizeBytes: f.SizeBytes,
			Width: f.Width, Height: f.Height, Duration: time.Duration(f.DurationMs) * time.Millisecond,
			Rest: content.JSON(f.Rest),
		})
	}
	return err
}
