package simulator

import (
	"encoding/json"
	"strconv"
	"time"

	"github.com/tgfleet/tgfleet/internal/ingest"
)

// How long Telegram keeps an update that nobody takes. Source: tdlib/telegram-bot-api, the timeouts given to add_update.
const (
	ordinaryLifetime     = 24 * time.Hour
	chosenResultLifetime = 600 * time.Second
	customEventLifetime  = 600 * time.Second
	callbackLifetime     = 150 * time.Second
	inlineQueryLifetime  = 30 * time.Second
)

// kindRule is what Telegram does with the updates of one kind.
type kindRule struct {
	lifetime time.Duration
	// family and owner name the queue: updates of one family and one owner are delivered one after the other.
	family string
	owner  func(subject) string
	// optIn kinds arrive only when allowed_updates names them. Source: https://core.telegram.org/bots/api#setwebhook.
	optIn bool
}

// kindRules holds the kinds that Telegram knows. Source of the queues: tdlib/telegram-bot-api, the webhook_queue_id given
// to add_update: a message's is its chat, and the others are shifted so that they share no queue with it.
var kindRules = map[ingest.Kind]kindRule{
	"message":                    {ordinaryLifetime, "chat", chatOf, false},
	"edited_message":             {ordinaryLifetime, "chat", chatOf, false},
	"channel_post":               {ordinaryLifetime, "chat", chatOf, false},
	"edited_channel_post":        {ordinaryLifetime, "chat", chatOf, false},
	"guest_message":              {ordinaryLifetime, "guest", chatOf, false},
	"business_connection":        {ordinaryLifetime, "business_connection", userOf, false},
	"business_message":           {ordinaryLifetime, "business_message", businessChatOf, false},
	"edited_business_message":    {ordinaryLifetime, "business_message", businessChatOf, false},
	"deleted_business_messages":  {ordinaryLifetime, "deleted_business", businessChatOf, false},
	"message_reaction":           {ordinaryLifetime, "reaction", chatOf, true},
	"message_reaction_count":     {ordinaryLifetime, "reaction_count", chatOf, true},
	"inline_query":               {inlineQueryLifetime, "inline", userOf, false},
	"chosen_inline_result":       {chosenResultLifetime, "chosen", userOf, false},
	"callback_query":             {callbackLifetime, "callback", userOf, false},
	"shipping_query":             {callbackLifetime, "payment", userOf, false},
	"pre_checkout_query":         {callbackLifetime, "payment", userOf, false},
	"purchased_paid_media":       {ordinaryLifetime, "paid_media", userOf, false},
	"poll":                       {ordinaryLifetime, "poll", pollOf, false},
	"poll_answer":                {ordinaryLifetime, "poll", pollOf, false},
	"my_chat_member":             {ordinaryLifetime, "my_member", chatOf, false},
	"chat_member":                {ordinaryLifetime, "member", chatOf, true},
	"chat_join_request":          {ordinaryLifetime, "join", chatOf, false},
	"chat_boost":                 {ordinaryLifetime, "boost", chatOf, false},
	"removed_chat_boost":         {ordinaryLifetime, "boost", chatOf, false},
	"managed_bot":                {ordinaryLifetime, "managed", userOf, false},
	"subscription":               {ordinaryLifetime, "subscription", userOf, false},
	"stopped_message_generation": {ordinaryLifetime, "stopped", chatOf, false},
	"custom_event":               {customEventLifetime, "", nobody, false},
	"custom_query":               {ordinaryLifetime, "", nobody, false},
}

// ruleOf returns the rule of a kind. One that the table does not know stands for a kind of the future: an ordinary update
// that the default allows, each in a queue of its own.
func ruleOf(kind ingest.Kind) kindRule {
	if rule, known := kindRules[kind]; known {
		return rule
	}
	return kindRule{ordinaryLifetime, "", nobody, false}
}

// queueKey names the queue of an update; empty means a queue of its own.
func (r kindRule) queueKey(payload []byte) string {
	var about subject
	if json.Unmarshal(payload, &about) != nil {
		return ""
	}
	owner := r.owner(about)
	if owner == "" {
		return ""
	}
	return r.family + ":" + owner
}

// subject is whatever of a payload says to whom it belongs.
type subject struct {
	Chat struct {
		ID int64 `json:"id"`
	} `json:"chat"`
	From struct {
		ID int64 `json:"id"`
	} `json:"from"`
	User struct {
		ID int64 `json:"id"`
	} `json:"user"`
	BusinessConnectionID string `json:"business_connection_id"`
	PollID               string `json:"poll_id"`
	ID                   any    `json:"id"`
}

func chatOf(about subject) string { return idText(about.Chat.ID) }

func userOf(about subject) string {
	if about.From.ID != 0 {
		return idText(about.From.ID)
	}
	return idText(about.User.ID)
}

func businessChatOf(about subject) string {
	if about.Chat.ID == 0 {
		return ""
	}
	return about.BusinessConnectionID + "/" + idText(about.Chat.ID)
}

func pollOf(about subject) string {
	if about.PollID != "" {
		return about.PollID
	}
	id, _ := about.ID.(string)
	return id
}

func nobody(subject) string { return "" }

func idText(id int64) string {
	if id == 0 {
		return ""
	}
	return strconv.FormatInt(id, 10)
}

// allowed is a bot's list of kinds; nil is the default: all kinds but those that want to be asked for.
type allowed map[ingest.Kind]bool

func (a allowed) takes(kind ingest.Kind) bool {
	if a == nil {
		return !ruleOf(kind).optIn
	}
	return a[kind]
}

// readAllowed reads the parameter allowed_updates. ok is false when it says nothing, and the bot's list stays. Names that
// Telegram does not know are passed over, and a list that names nothing known is the default.
// Source: tdlib/telegram-bot-api, Client::get_allowed_update_types.
func readAllowed(text string) (list allowed, ok bool) {
	var names []string
	if text == "" || json.Unmarshal([]byte(text), &names) != nil || names == nil {
		return nil, false
	}
	for _, name := range names {
		if _, known := kindRules[ingest.Kind(name)]; known {
			if list == nil {
				list = allowed{}
			}
			list[ingest.Kind(name)] = true
		}
	}
	return list, true
}
