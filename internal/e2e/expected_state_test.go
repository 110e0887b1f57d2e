package e2e_test

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/stretchr/testify/require"

	"github.com/tgfleet/tgfleet/internal/simulator"
)

// happening is as much of what is no message as the tests look at: the fields of all such kinds that the simulator sends.
type happening struct {
	ID            string
	PollID        string `json:"poll_id"`
	Question      string
	Chat          *chat
	From, User    *user
	Date          int64
	MessageID     int64                   `json:"message_id"`
	OldChatMember struct{ Status string } `json:"old_chat_member"`
	NewChatMember struct {
		Status string
		User   *user
	} `json:"new_chat_member"`
	NewReaction     json.RawMessage `json:"new_reaction"`
	Reactions       json.RawMessage
	OptionIDs       json.RawMessage `json:"option_ids"`
	Options         json.RawMessage
	TotalVoterCount int64 `json:"total_voter_count"`
	IsClosed        bool  `json:"is_closed"`
	Message         *struct {
		MessageID int64 `json:"message_id"`
		Chat      chat
	}
}

// happening adds what an update says that is no message.
func (e *expectation) happening(u *simulator.Update, payload []byte) {
	e.t.Helper()
	var h happening
	require.NoError(e.t, json.Unmarshal(payload, &h))
	e.meetIn(&h)
	dated := [4]int64{h.Date, 0, int64(u.BotID), u.ID}
	switch string(u.Kind) {
	case "my_chat_member", "chat_member":
		key := fmt.Sprintf("%d/%d", h.Chat.ID, h.NewChatMember.User.ID)
		e.tell(stateKey{"memberships", key}, h.NewChatMember.Status, dated)
		e.report("member.changed", fmt.Sprintf("chats/%d/members/%d", h.Chat.ID, h.NewChatMember.User.ID),
			h.Date, h.OldChatMember.Status, h.NewChatMember.Status)
	case "message_reaction":
		key := e.messageOf(u, h.Chat, h.MessageID)
		e.tell(stateKey{"reactions", fmt.Sprintf("%s/%d", key.path(), h.User.ID)}, compact(e, h.NewReaction), dated)
		e.report("reaction.changed", key.subject(), h.User.ID, h.Date, compact(e, h.NewReaction))
	case "message_reaction_count":
		key := e.messageOf(u, h.Chat, h.MessageID)
		var counts []struct {
			TotalCount int64 `json:"total_count"`
		}
		require.NoError(e.t, json.Unmarshal(h.Reactions, &counts))
		total := int64(0)
		for _, one := range counts {
			total += one.TotalCount
		}
		e.tell(stateKey{"reaction_counts", key.path()}, strconv.FormatInt(total, 10), dated)
		e.report("reaction.changed", key.subject(), "count", h.Date, canonical(e, h.Reactions))
	case "poll":
		e.poll(&h)
	case "poll_answer":
		// Without dates, what is newer is a matter of when and with which number an update came; only one bot sees each answer.
		e.tell(stateKey{"poll_answers", fmt.Sprintf("%s/%d", h.PollID, h.User.ID)}, compact(e, h.OptionIDs), dated)
		e.report("poll.updated", "polls/"+h.PollID, u.BotID, u.ID)
	case "inline_query", "chosen_inline_result", "callback_query":
		e.interaction(u, &h)
	}
}

func (e *expectation) interaction(u *simulator.Update, h *happening) {
	e.t.Helper()
	name := fmt.Sprintf("%s/%d", sourceOf(u.BotID), u.ID)
	who := cmp.Or(h.From, h.User)
	require.NotNil(e.t, who, "%s: the simulator's interactions are somebody's", u.Kind)
	message := int64(0)
	if h.Message != nil {
		message = h.Message.MessageID
	}
	e.state[stateKey{"interactions", name}] = fmt.Sprintf("%s%d%d", u.Kind, who.ID, message)
	e.report("interaction.received", "interactions/"+name)
}

// alongside adds what a message says of other things than itself.
func (e *expectation) alongside(u *simulator.Update, m *message) {
	e.t.Helper()
	if raw, is := m.fields["poll"]; is {
		var h happening
		require.NoError(e.t, json.Unmarshal(raw, &h))
		e.poll(&h)
	}
	for field, old := range map[string]bool{"migrate_to_chat_id": true, "migrate_from_chat_id": false} {
		raw, is := m.fields[field]
		if !is {
			continue
		}
		from, to := m.Chat.ID, int64(0)
		require.NoError(e.t, json.Unmarshal(raw, &to), "%d", u.ID)
		if !old {
			from, to = to, from
		}
		e.state[stateKey{"chat_aliases", fmt.Sprintf("%d/%d", from, to)}] = ""
		e.report("chat.migrated", fmt.Sprintf("chats/%d", from), to)
	}
}

// poll adds a poll as it stands. That the newest standing stays is looked at elsewhere: without dates it is a matter of when updates came,
// by the clocks of the receivers, which some tests set wrong.
func (e *expectation) poll(h *happening) {
	e.t.Helper()
	e.state[stateKey{"polls", h.ID}] = strings.ReplaceAll(h.Question, " ", "")
	e.report("poll.updated", "polls/"+h.ID, h.IsClosed, h.TotalVoterCount, canonical(e, h.Options))
}

// tell notes a row of state, unless a newer one is known.
func (e *expectation) tell(key stateKey, value string, later [4]int64) {
	if known, is := e.told[key]; is && slices.Compare(later[:], known[:]) < 0 {
		return
	}
	e.told[key], e.state[key] = later, value
}

// report notes a change that asks for an event, however often and by whomever it is told.
func (e *expectation) report(kind, subject string, change ...any) {
	key := eventKey{kind: kind, subject: subject}
	if e.news[key] == nil {
		e.news[key] = map[string]bool{}
	}
	e.news[key][fmt.Sprint(change...)] = true
}

// messageOf names a message that an update names by its chat and number.
func (e *expectation) messageOf(u *simulator.Update, in *chat, id int64) messageKey {
	key := messageKey{chatID: in.ID, messageID: id}
	if in.Type == "private" || in.Type == "group" {
		key.scope = int64(u.BotID)
	}
	return key
}

func (k messageKey) path() string { return fmt.Sprintf("%d/%d/%d", k.scope, k.chatID, k.messageID) }

// meetIn notes the chats and users that h shows.
func (e *expectation) meetIn(h *happening) {
	e.meetChat(h.Chat)
	if h.Message != nil {
		e.meetChat(&h.Message.Chat)
	}
	for _, u := range []*user{h.From, h.User, h.NewChatMember.User} {
		if u != nil {
			e.users[u.ID] = true
		}
	}
}

// canonical returns a JSON value in one way, however it was written.
func canonical(e *expectation, value json.RawMessage) string {
	e.t.Helper()
	var decoded any
	require.NoError(e.t, json.Unmarshal(value, &decoded))
	b, err := json.Marshal(decoded)
	require.NoError(e.t, err)
	return string(b)
}

// compact returns reactions, or an array of numbers, as the archive's text of it is compared: without escapes and spaces.
func compact(e *expectation, value json.RawMessage) string {
	e.t.Helper()
	var fields []struct {
		Type  any    `json:"type,omitempty"`
		Emoji string `json:"emoji,omitempty"`
	}
	if json.Unmarshal(value, &fields) != nil { // an array of numbers
		return strings.ReplaceAll(string(value), " ", "")
	}
	b, err := json.Marshal(fields)
	require.NoError(e.t, err)
	return strings.ReplaceAll(string(b), " ", "")
}
