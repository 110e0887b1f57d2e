package storetest

import (
	"fmt"
	"time"

	"github.com/tgfleet/tgfleet/internal/content"
)

// scene is a step with the number that the ids of its history are made of.
type scene struct {
	*step
	base int64
}

var chatTypes = []content.ChatType{content.Group, content.Supergroup, content.Private, content.Channel}

// deletions stands for the tables of what MTProto tells and the Bot API has no update for; see goneSomewhere.
const deletions = "deletions"

// kinds is what a step can tell: the field and its value of an update of the Bot API, and the table that it is about.
var kinds = []struct {
	table string
	body  func(s *scene) (field string, body object)
}{
	{"messages", func(s *scene) (string, object) { return s.posted(s.texted()) }},
	{"messages", func(s *scene) (string, object) { return s.edited(s.texted()) }},
	{"messages", func(s *scene) (string, object) {
		// An edit without edit_date.
		field, m := s.edited(s.texted())
		delete(m, "edit_date")
		return field, m
	}},
	{"messages", func(s *scene) (string, object) {
		// Only the keyboard changes, or the reactions do, of which an update says no more than the moment.
		m := s.texted()
		m["text"] = "text 0"
		delete(m, "entities")
		if s.flag {
			m["reply_markup"] = object{"inline_keyboard": [][]object{{{"text": s.words(), "callback_data": s.words()}}}}
		}
		return s.edited(m)
	}},
	{"messages", func(s *scene) (string, object) { return s.edited(s.pictured()) }},
	{"messages", func(s *scene) (string, object) {
		m := s.pictured()
		m["media_group_id"] = s.id("album", s.text)
		return s.posted(m)
	}},
	{deletions, func(s *scene) (string, object) { return "deleted_somewhere", object{"chat": s.where()} }},
	{"reactions", func(s *scene) (string, object) {
		r := object{"chat": s.where(), "message_id": s.message + 1, "date": s.moment(), "new_reaction": s.emoji(), "old_reaction": []object{}}
		if s.flag {
			r["actor_chat"] = s.where()
		} else {
			r["user"] = s.who()
		}
		return "message_reaction", r
	}},
	{"reaction_counts", func(s *scene) (string, object) {
		return "message_reaction_count", object{
			"chat": s.where(), "message_id": s.message + 1, "date": s.moment(),
			"reactions": []object{{"type": s.emoji()[0], "total_count": s.text + 1}},
		}
	}},
	{"memberships", func(s *scene) (string, object) {
		now := object{"user": s.who(), "status": []string{"member", "left", "administrator"}[s.text]}
		m := object{
			"chat": s.where(), "from": s.who(), "date": s.moment(), "old_chat_member": object{"user": s.who(), "status": "left"},
			"new_chat_member": now,
		}
		if s.flag {
			return "my_chat_member", m
		}
		return "chat_member", m
	}},
	{"chat_aliases", func(s *scene) (string, object) {
		m := s.sent()
		if s.flag {
			m["chat"], m["migrate_to_chat_id"] = s.chatOf(0), s.chatID(1)
		} else {
			m["chat"], m["migrate_from_chat_id"] = s.chatOf(1), s.chatID(0)
		}
		m["date"] = s.moment()
		return "message", m
	}},
	{"polls", func(s *scene) (string, object) { return "poll", s.poll() }},
	{"polls", func(s *scene) (string, object) {
		m := s.sent()
		m["poll"] = s.poll()
		return s.posted(m)
	}},
	{"poll_answers", func(s *scene) (string, object) {
		return "poll_answer", object{"poll_id": s.id("poll", s.message), "user": s.who(), "option_ids": []int{s.text}}
	}},
	{"interactions", func(s *scene) (string, object) {
		return "callback_query", object{
			"id": s.id("query", s.text), "from": s.who(), "message": s.texted(), "chat_instance": "1", "data": s.words(),
		}
	}},
	{"interactions", func(s *scene) (string, object) {
		if s.flag {
			return "inline_query", object{"id": s.id("query", s.text), "from": s.who(), "query": s.words(), "offset": ""}
		}
		return "chat_join_request", object{"chat": s.where(), "from": s.who(), "date": s.moment(), "bio": s.words(), "user_chat_id": s.base + 1}
	}},
	{"business_connections", func(s *scene) (string, object) {
		return "business_connection", object{
			"id": s.connection(), "user": s.who(), "user_chat_id": s.base + 1, "date": s.date().Unix(), "is_enabled": s.text > 0,
			"rights": object{"can_reply": s.flag},
		}
	}},
	{"messages", func(s *scene) (string, object) {
		m := s.texted()
		m["chat"], m["business_connection_id"] = s.chatOf(2), s.connection()
		if s.flag {
			return "business_message", m
		}
		_, m = s.edited(m)
		return "edited_business_message", m
	}},
	{"messages", func(s *scene) (string, object) {
		return "deleted_business_messages", object{
			"business_connection_id": s.connection(), "chat": s.chatOf(2), "message_ids": []int{1, s.message + 1}[s.message/2:],
		}
	}},
	{"messages", func(s *scene) (string, object) {
		m := s.texted()
		if s.flag {
			m["guest_query_id"] = s.id("guest", s.user)
			return "guest_message", m
		}
		m["message_id"], m["ephemeral_message_id"] = 0, s.message+1
		return "message", m
	}},
	{"messages", func(s *scene) (string, object) {
		// What a message says of others than its chat and its sender.
		m := s.texted()
		m["reply_to_message"] = object{"message_id": s.document + 1, "date": 0, "chat": s.where()}
		m["quote"] = object{"text": s.words(), "position": 0}
		m["forward_origin"] = object{"type": "channel", "date": s.moment(), "chat": s.chatOf(3), "message_id": s.document + 1}
		m["via_bot"] = s.whois((s.user + 1) % 3)
		return s.posted(m)
	}},
	{"messages", func(s *scene) (string, object) {
		m := s.sent()
		m["new_chat_members"] = []object{s.whois(s.text), s.whois(s.document)}
		return s.posted(m)
	}},
	{"chat_boosts", func(s *scene) (string, object) {
		return "chat_boost", object{"chat": s.where(), "boost": object{
			"boost_id": s.id("boost", s.user), "add_date": s.moment(), "expiration_date": s.moment() + 3600,
			"source": object{"source": []string{"premium", "gift_code", "giveaway"}[s.text], "user": s.who()},
		}}
	}},
	{"removals", func(s *scene) (string, object) {
		return "removed_chat_boost", object{
			"chat": s.where(), "boost_id": s.id("boost", s.user), "remove_date": s.moment(), "source": object{"source": "premium"},
		}
	}},
	{"updates", func(s *scene) (string, object) { return "future_thing", object{"chat": s.where(), "text": s.words()} }},
}

// id names something of the history, by number.
func (s *scene) id(what string, number int) string {
	return fmt.Sprint(what, " ", s.base+int64(number))
}

func (s *scene) words() string { return fmt.Sprint("text ", s.text) }

// date is when the message was sent that the step is about, whatever the step says of it.
func (s *scene) date() time.Time { return sent.Add(time.Duration(s.message) * time.Minute) }

// moment is when what the step tells happened: often in one second with others.
func (s *scene) moment() int64 { return s.date().Unix() + int64(s.second) }

func (s *scene) connection() string { return s.id("connection", s.bot) }

func (s *scene) chatID(i int) int64 {
	switch id := s.base + 500 + int64(i); chatTypes[i] {
	case content.Private:
		return id
	case content.Group:
		return -id
	default:
		return -1_000_000_000_000 - id
	}
}

func (s *scene) chatOf(i int) object {
	c := object{"id": s.chatID(i), "type": chatTypes[i]}
	if chatTypes[i] == content.Private {
		c["first_name"] = s.words()
	} else {
		c["title"] = s.words()
	}
	return c
}

func (s *scene) where() object { return s.chatOf(s.chat) }

func (s *scene) whois(user int) object {
	u := object{"id": s.base + int64(user) + 1, "is_bot": false, "first_name": s.words()}
	if s.flag {
		u["language_code"] = fmt.Sprint("en-", s.second)
	}
	return u
}

func (s *scene) who() object { return s.whois(s.user) }

func (s *scene) emoji() []object {
	return []object{{"type": "emoji", "emoji": []string{"👍", "❤", "🔥"}[s.text]}}
}

func (s *scene) key(change *content.ChangeSet) content.MessageKey {
	return content.MessageKey{
		Scope:  content.ScopeOf(chatTypes[s.chat], change.Update.Envelope.Source.Account),
		ChatID: content.ChatID(s.chatID(s.chat)), MessageID: content.MessageID(s.message + 1),
	}
}

// goneSomewhere has change tell what only MTProto tells: that a message is gone, perhaps without a word of its chat, that something was left out, and
// what an account proves with that it knows somebody.
func (s *scene) goneSomewhere(change *content.ChangeSet) {
	at, account := s.date().Add(time.Duration(s.second)*time.Second), change.Update.Envelope.Source.Account
	key := s.key(change)
	if s.flag {
		key = content.MessageKey{Scope: content.Scope(account), MessageID: key.MessageID}
	}
	change.Deletions = []content.Deletion{{Key: key, DeletedAt: at}}
	change.Holes = []content.Hole{{
		AccountID: account, ChatID: content.ChatID(s.chatID(s.chat)), Reason: content.ChannelTooLong, ToPts: s.text, FoundAt: at,
	}}
	change.AccessHashes = []content.AccessHash{{
		AccountID: account, Peer: content.ChatID(s.chatID(s.chat)), Hash: change.Update.UpdateID, Version: content.NewVersion(content.Stamp{
			Date: at, Source: change.Update.Envelope.Source, Sequence: change.Update.UpdateID, Hash: change.Update.Hash,
		}),
	}}
}

func (s *scene) poll() object {
	return object{
		"id": s.id("poll", s.message), "question": s.words(), "options": []object{{"text": "yes", "voter_count": s.second}},
		"total_voter_count": s.second, "is_closed": s.flag, "is_anonymous": true, "type": "regular", "allows_multiple_answers": false,
	}
}

// sent is a message without content.
func (s *scene) sent() object {
	m := object{"message_id": s.message + 1, "date": s.date().Unix(), "chat": s.where()}
	if chatTypes[s.chat] == content.Channel {
		m["sender_chat"] = s.where()
	} else {
		m["from"] = s.who()
	}
	return m
}

func (s *scene) texted() object {
	m := s.sent()
	m["text"] = s.words()
	if s.text == 2 {
		m["entities"] = []object{{"type": "text_mention", "offset": 0, "length": 4, "user": s.whois(s.document)}}
	}
	return m
}

// pictured is a message with a photo; each account knows its file by another id, and by a new one each time.
func (s *scene) pictured() object {
	m := s.sent()
	m["photo"] = []object{{
		"file_unique_id": s.id("file", s.document), "file_id": fmt.Sprint(s.bot, s.document, s.second, s.text), "width": 9, "height": 9,
	}}
	if s.flag {
		m["caption"] = s.words()
	}
	return m
}

func (s *scene) posted(m object) (string, object) {
	if chatTypes[s.chat] == content.Channel {
		return "channel_post", m
	}
	return "message", m
}

func (s *scene) edited(m object) (string, object) {
	m["edit_date"] = s.moment()
	if chatTypes[s.chat] == content.Channel {
		return "edited_channel_post", m
	}
	return "edited_message", m
}
