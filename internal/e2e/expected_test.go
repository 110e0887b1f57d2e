package e2e_test

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tgfleet/tgfleet/internal/account"
	"github.com/tgfleet/tgfleet/internal/ingest"
	"github.com/tgfleet/tgfleet/internal/simulator"
)

// expect works out what the archive must hold once exactly these updates were received, events aside. It shares no code
// with the fleet: it reads Telegram's JSON with the standard library and says in its own words what the archive promises.
func expect(t testing.TB, updates []simulator.Update) contents {
	t.Helper()
	e := expectation{
		t: t, contents: newContents(), seen: map[messageKey]*sightings{}, told: map[stateKey][4]int64{}, news: map[eventKey]map[string]bool{},
	}
	for i := range updates {
		e.update(&updates[i])
	}
	for key, s := range e.seen {
		e.message(key, s)
	}
	for key, changes := range e.news {
		e.events[key] = len(changes)
	}
	return e.contents
}

type expectation struct {
	contents
	t    testing.TB
	seen map[messageKey]*sightings
	// told holds what makes each row of state newer than others, and news the distinct changes that ask for one event each.
	told map[stateKey][4]int64
	news map[eventKey]map[string]bool
}

// sightings is all that updates showed of one message.
type sightings struct {
	latest sighting
	// first holds the oldest sighting of each content.
	first map[string]sighting
}

// sighting is one update's view of a message. Later is what makes it newer than another: when Telegram made it, that it is an
// edit, and between those of one second the account and the number of the update.
type sighting struct {
	later [4]int64
	row   messageRow
	media []mediaRow
}

func (s sighting) producedAt() int64 { return max(s.row.date, s.row.editDate) }

func (e *expectation) update(u *simulator.Update) {
	e.t.Helper()
	var members map[string]json.RawMessage
	require.NoError(e.t, json.Unmarshal(u.Raw, &members))
	require.Len(e.t, members, 2, "an update has an id and one kind")
	payload := members[string(u.Kind)]
	require.NotNil(e.t, payload)
	e.ledger[ledgerKey{source: sourceOf(u.BotID), updateID: u.ID, payload: string(u.Raw)}] = ledgerRow{
		kind: string(u.Kind), chatID: chatOf(e.t, payload),
	}
	if slices.Contains([]ingest.Kind{"message", "edited_message", "channel_post", "edited_channel_post"}, u.Kind) {
		e.sight(u, payload)
		return
	}
	e.happening(u, payload)
}

func sourceOf(id account.BotID) string {
	return ingest.Source{Transport: ingest.BotAPI, Account: int64(id)}.String()
}

// chatOf returns the chat that an update is about: its own, or that of the message in it; 0 when it is about none.
func chatOf(t testing.TB, payload []byte) int64 {
	t.Helper()
	var about struct {
		Chat    chat
		Message struct{ Chat chat }
	}
	require.NoError(t, json.Unmarshal(payload, &about))
	return cmp.Or(about.Chat.ID, about.Message.Chat.ID)
}

// sight adds what a message update shows.
func (e *expectation) sight(u *simulator.Update, payload []byte) {
	e.t.Helper()
	var m message
	require.NoError(e.t, json.Unmarshal(payload, &m))
	require.NoError(e.t, json.Unmarshal(payload, &m.fields))
	key := messageKey{chatID: m.Chat.ID, messageID: m.MessageID}
	if m.Chat.Type == "private" || m.Chat.Type == "group" {
		key.scope = int64(u.BotID)
	}
	s := sighting{later: [4]int64{m.Date, 0, int64(u.BotID), u.ID}, row: m.row(e.t), media: m.media()}
	if m.EditDate != 0 {
		s.later[0], s.later[1] = m.EditDate, 1
	} else {
		require.NotContains(e.t, string(u.Kind), "edited", "the simulator dates its edits")
	}
	content, err := json.Marshal([]any{s.row.kind, s.row.text, s.row.entities, s.mediaNames()})
	require.NoError(e.t, err)
	e.note(key, string(content), s)
	e.meet(&m)
	e.alongside(u, &m)
}

func (s sighting) mediaNames() []string {
	names := []string{}
	for _, m := range s.media {
		names = append(names, m.kind, m.fileUniqueID)
	}
	return names
}

func (e *expectation) note(key messageKey, content string, s sighting) {
	of := e.seen[key]
	if of == nil {
		of = &sightings{latest: s, first: map[string]sighting{}}
		e.seen[key] = of
	}
	if slices.Compare(s.later[:], of.latest.later[:]) > 0 {
		of.latest = s
	}
	if first, known := of.first[content]; !known || slices.Compare(s.later[:], first.later[:]) < 0 {
		of.first[content] = s
	}
}

// meet notes the chats and users that a message shows.
func (e *expectation) meet(m *message) {
	origin := m.ForwardOrigin
	for _, c := range []*chat{&m.Chat, m.SenderChat, origin.SenderChat, origin.Chat} {
		e.meetChat(c)
	}
	people := []*user{m.From, m.ViaBot, m.LeftChatMember, origin.SenderUser}
	for i := range m.NewChatMembers {
		people = append(people, &m.NewChatMembers[i])
	}
	for _, list := range [][]entity{m.Entities, m.CaptionEntities} {
		for _, mark := range list {
			people = append(people, mark.User)
		}
	}
	for _, u := range people {
		if u != nil {
			e.users[u.ID] = true
		}
	}
}

// meetChat notes a chat, and that it was seen as it is; nil is none.
func (e *expectation) meetChat(c *chat) {
	if c == nil {
		return
	}
	e.chats[c.ID] = true
	if c.Type != "private" {
		e.report("chat.updated", fmt.Sprintf("chats/%d", c.ID), c.Type, c.Title, c.Username, c.IsForum)
	}
}

// message turns all sightings of a message into rows.
func (e *expectation) message(key messageKey, s *sightings) {
	e.messages[key] = s.latest.row
	for i, m := range s.latest.media {
		e.media[mediaKey{messageKey: key, ordinal: i}] = m
	}
	for _, first := range s.first {
		e.revisions[revisionKey{
			messageKey: key, kind: first.row.kind, text: first.row.text, entities: first.row.entities, date: first.producedAt(),
		}]++
	}
}

// The parts of Telegram's objects that the archive keeps. Source: https://core.telegram.org/bots/api#available-types.
type (
	chat struct {
		ID                    int64
		Type, Title, Username string
		IsForum               bool `json:"is_forum"`
	}
	user    struct{ ID int64 }
	message struct {
		MessageID       int64 `json:"message_id"`
		MessageThreadID int64 `json:"message_thread_id"`
		From            *user
		SenderChat      *chat `json:"sender_chat"`
		ViaBot          *user `json:"via_bot"`
		Chat            chat
		Date            int64
		EditDate        int64 `json:"edit_date"`
		ReplyToMessage  struct {
			MessageID int64 `json:"message_id"`
		} `json:"reply_to_message"`
		ForwardOrigin struct {
			SenderUser *user `json:"sender_user"`
			SenderChat *chat `json:"sender_chat"`
			Chat       *chat
		} `json:"forward_origin"`
		MediaGroupID    string `json:"media_group_id"`
		Text            string
		Entities        []entity
		Caption         string
		CaptionEntities []entity `json:"caption_entities"`
		Photo           []file
		NewChatMembers  []user `json:"new_chat_members"`
		LeftChatMember  *user  `json:"left_chat_member"`

		// fields are all of them, by name.
		fields map[string]json.RawMessage
	}
	entity struct {
		Type          string `json:"type"`
		Offset        int    `json:"offset"`
		Length        int    `json:"length"`
		URL           string `json:"url,omitempty"`
		User          *user  `json:"user,omitempty"`
		UserID        int64  `json:"user_id,omitempty"`
		Language      string `json:"language,omitempty"`
		CustomEmojiID string `json:"custom_emoji_id,omitempty"`
	}
	file struct {
		FileUniqueID string `json:"file_unique_id"`
		Width        int
		Height       int
		FileSize     int64 `json:"file_size"`
	}
)

// What a message is, by the first of these fields that it has, and which of them are files.
var (
	messageKinds = slices.Concat([]string{"text"}, fileKinds, []string{
		"new_chat_members", "left_chat_member", "contact", "dice", "poll", "venue", "location", "migrate_to_chat_id",
		"migrate_from_chat_id", "pinned_message", "forum_topic_created",
	})
	fileKinds = []string{"animation", "photo", "video", "document", "audio", "voice", "video_note", "sticker"}
)

func (m *message) kind(among []string) string {
	for _, name := range among {
		if _, has := m.fields[name]; has {
			return name
		}
	}
	return ""
}

func (m *message) row(t testing.TB) messageRow {
	t.Helper()
	row := messageRow{
		kind: m.kind(messageKinds), threadID: m.MessageThreadID, replyToMessageID: m.ReplyToMessage.MessageID,
		mediaGroupID: m.MediaGroupID, date: m.Date, editDate: m.EditDate,
	}
	require.NotEmpty(t, row.kind, "%v", m.fields)
	if m.From != nil {
		row.fromID = m.From.ID
	}
	if m.SenderChat != nil {
		row.senderChatID = m.SenderChat.ID
	}
	text, entities := m.Text, m.Entities
	if text == "" {
		text, entities = m.Caption, m.CaptionEntities
	}
	// Half a surrogate pair has become U+FFFD in the decoder.
	row.text = strings.ReplaceAll(text, "\x00", "\uFFFD")
	row.entities = canonicalEntities(t, entities)
	return row
}

// canonicalEntities writes entities in one way, whether they come from Telegram or from the archive, and in one order.
func canonicalEntities(t testing.TB, entities []entity) string {
	t.Helper()
	list := append([]entity{}, entities...)
	for i := range list {
		if list[i].User != nil {
			list[i].User, list[i].UserID = nil, list[i].User.ID
		}
	}
	slices.SortFunc(list, func(a, b entity) int {
		return cmp.Or(cmp.Compare(a.Offset, b.Offset), cmp.Compare(a.Length, b.Length), strings.Compare(a.Type, b.Type))
	})
	text, err := json.Marshal(list)
	require.NoError(t, err)
	return string(text)
}

// media returns the files of the message; of a photo it is the largest size.
func (m *message) media() []mediaRow {
	kind := m.kind(fileKinds)
	if kind == "" {
		return nil
	}
	var f file
	if kind == "photo" {
		f = slices.MaxFunc(m.Photo, func(a, b file) int {
			return cmp.Or(cmp.Compare(a.Width*a.Height, b.Width*b.Height), cmp.Compare(a.FileSize, b.FileSize))
		})
	} else if json.Unmarshal(m.fields[kind], &f) != nil {
		return nil
	}
	return []mediaRow{{kind: kind, fileUniqueID: f.FileUniqueID}}
}
