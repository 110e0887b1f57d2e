// Package botapi normalises the Updates of the Bot API (https://core.telegram.org/bots/api#update), with narrow
// types of its own that name exactly what the archive keeps.
//
// Every update with an id becomes a row of the ledger, and what it says becomes snapshots: of messages, chats and users, of memberships,
// reactions, polls and whatever else the kinds of the Bot API tell of; deletions name what is gone. What the normaliser does
// not know it passes over: new kinds, new fields, new kinds of content. JSON is read strictly in what it says
// (names match exactly, ids are 64-bit integers) and mildly in how it is written: of duplicate names the last
// member counts, whole; U+0000, lone surrogates and invalid UTF-8 are U+FFFD in every stored string, one for each
// UTF-16 code unit, so that entity offsets stay right. The envelope keeps the raw bytes as they came.
package botapi

import (
	"cmp"

	"github.com/go-json-experiment/json"

	"github.com/tgfleet/tgfleet/internal/content"
	"github.com/tgfleet/tgfleet/internal/ingest"
	"github.com/tgfleet/tgfleet/internal/normalise"
)

// Normaliser reads ingest.BotAPIJSON. It has no state: any number of goroutines may use one.
type Normaliser struct{}

// New returns a normaliser for ingest.BotAPIJSON.
func New() *Normaliser { return &Normaliser{} }

// Normalise returns what the update in env says. Its errors are *normalise.Rejected.
func (n *Normaliser) Normalise(env ingest.Envelope) (content.ChangeSet, error) {
	u, rejected := decode(env.Raw)
	if rejected != nil {
		return content.ChangeSet{}, rejected
	}
	row := content.Update{
		Envelope:          env,
		Hash:              ingest.HashOf(env.Raw),
		UpdateID:          u.UpdateID,
		NormaliserVersion: normalise.Version,
	}
	b := builder{update: &row}
	if kind, m := u.message(); m != nil {
		row.Kind, row.ChatID = kind, content.ChatID(m.Chat.ID)
		b.message(m)
	} else if d := u.DeletedBusinessMessages; d != nil {
		row.Kind, row.ChatID = kindDeletedBusinessMessages, content.ChatID(d.Chat.ID)
		b.deletedMessages(d)
	} else if row.Kind, row.ChatID = b.state(u); row.Kind == "" {
		row.Kind, row.ChatID = u.unknown()
	}
	if b.wrong != "" {
		return content.ChangeSet{}, &normalise.Rejected{
			Class: normalise.Malformed, UpdateID: u.UpdateID, Reason: "/" + string(row.Kind) + b.wrong,
		}
	}
	b.changes.Update = row
	return b.changes, nil
}

// UpdateID returns the id of the update in raw, as far as it can be read; 0 otherwise.
func (n *Normaliser) UpdateID(raw []byte) int64 {
	_, id, _ := repair(raw)
	return id
}

// The kinds of Bot API 10.3.
const (
	kindMessage                 ingest.Kind = "message"
	kindEditedMessage           ingest.Kind = "edited_message"
	kindChannelPost             ingest.Kind = "channel_post"
	kindEditedChannelPost       ingest.Kind = "edited_channel_post"
	kindBusinessMessage         ingest.Kind = "business_message"
	kindEditedBusinessMessage   ingest.Kind = "edited_business_message"
	kindDeletedBusinessMessages ingest.Kind = "deleted_business_messages"
	kindGuestMessage            ingest.Kind = "guest_message"

	kindBusinessConnection       ingest.Kind = "business_connection"
	kindMessageReaction          ingest.Kind = "message_reaction"
	kindMessageReactionCount     ingest.Kind = "message_reaction_count"
	kindInlineQuery              ingest.Kind = "inline_query"
	kindChosenInlineResult       ingest.Kind = "chosen_inline_result"
	kindCallbackQuery            ingest.Kind = "callback_query"
	kindShippingQuery            ingest.Kind = "shipping_query"
	kindPreCheckoutQuery         ingest.Kind = "pre_checkout_query"
	kindPurchasedPaidMedia       ingest.Kind = "purchased_paid_media"
	kindPoll                     ingest.Kind = "poll"
	kindPollAnswer               ingest.Kind = "poll_answer"
	kindMyChatMember             ingest.Kind = "my_chat_member"
	kindChatMember               ingest.Kind = "chat_member"
	kindChatJoinRequest          ingest.Kind = "chat_join_request"
	kindChatBoost                ingest.Kind = "chat_boost"
	kindRemovedChatBoost         ingest.Kind = "removed_chat_boost"
	kindManagedBot               ingest.Kind = "managed_bot"
	kindSubscription             ingest.Kind = "subscription"
	kindStoppedMessageGeneration ingest.Kind = "stopped_message_generation"
)

// message returns the message that the update carries and its kind; nil for every other update. "At most one of the
// optional fields can be present in any given update"; should Telegram ever send more, the first in its own order
// counts and the raw bytes keep the rest.
func (u *update) message() (ingest.Kind, *message) {
	switch {
	case u.Message != nil:
		return kindMessage, u.Message
	case u.EditedMessage != nil:
		return kindEditedMessage, u.EditedMessage
	case u.ChannelPost != nil:
		return kindChannelPost, u.ChannelPost
	case u.EditedChannelPost != nil:
		return kindEditedChannelPost, u.EditedChannelPost
	case u.BusinessMessage != nil:
		return kindBusinessMessage, u.BusinessMessage
	case u.EditedBusinessMessage != nil:
		return kindEditedBusinessMessage, u.EditedBusinessMessage
	case u.GuestMessage != nil:
		return kindGuestMessage, u.GuestMessage
	default:
		return "", nil
	}
}

// unknown returns the kind and the chat of an update that nobody here knows. It refuses nothing: the kind is the field's
// name, and a chat that can't be read is 0.
func (u *update) unknown() (ingest.Kind, content.ChatID) {
	for _, m := range members(u.Others) {
		if isFieldName(m.name) {
			return ingest.Kind(m.name), m.chatID()
		}
	}
	return ingest.KindUnknown, 0
}

// chatID returns the id of the chat that the member is about, where it tells it as the known kinds do: its own, its message's, or the
// private chat with a user.
func (m *member) chatID() content.ChatID {
	var s subject
	if json.Unmarshal(m.value, &s) != nil {
		return 0
	}
	return content.ChatID(cmp.Or(s.Chat.ID, s.Message.Chat.ID, s.UserChatID))
}

// isFieldName tells whether name looks like a name that Telegram gives to a field. Whatever else somebody sends stays
// out of the ledger's kinds.
func isFieldName(name string) bool {
	for _, c := range []byte(name) {
		if (c < 'a' || 'z' < c) && c != '_' {
			return false
		}
	}
	return name != "" && len(name) <= 64
}
