package botapi

import "github.com/go-json-experiment/json/jsontext"

// The kinds beside messages. Rest keeps the members of an object that have no field of their own.

// memberUpdated is a ChatMemberUpdated.
type memberUpdated struct {
	Chat          chat           `json:"chat"`
	From          *user          `json:"from"`
	Date          int64          `json:"date"`
	OldChatMember chatMember     `json:"old_chat_member"`
	NewChatMember chatMember     `json:"new_chat_member"`
	Rest          jsontext.Value `json:",embed"`
}

// chatMember is a ChatMember of any type.
type chatMember struct {
	Status    string         `json:"status"`
	User      *user          `json:"user"`
	IsMember  bool           `json:"is_member"`
	UntilDate int64          `json:"until_date"`
	Rest      jsontext.Value `json:",embed"`
}

// reactionUpdated is a MessageReactionUpdated.
type reactionUpdated struct {
	Chat        chat           `json:"chat"`
	MessageID   int64          `json:"message_id"`
	User        *user          `json:"user"`
	ActorChat   *chat          `json:"actor_chat"`
	Date        int64          `json:"date"`
	NewReaction jsontext.Value `json:"new_reaction"`
}

// reactionCountUpdated is a MessageReactionCountUpdated.
type reactionCountUpdated struct {
	Chat      chat           `json:"chat"`
	MessageID int64          `json:"message_id"`
	Date      int64          `json:"date"`
	Reactions jsontext.Value `json:"reactions"`
}

type poll struct {
	ID                    string         `json:"id"`
	Question              string         `json:"question"`
	Options               jsontext.Value `json:"options"`
	TotalVoterCount       int32          `json:"total_voter_count"`
	IsClosed              bool           `json:"is_closed"`
	IsAnonymous           bool           `json:"is_anonymous"`
	Type                  string         `json:"type"`
	AllowsMultipleAnswers bool           `json:"allows_multiple_answers"`
	CloseDate             int64          `json:"close_date"`
	Rest                  jsontext.Value `json:",embed"`
}

type pollAnswer struct {
	PollID    string         `json:"poll_id"`
	VoterChat *chat          `json:"voter_chat"`
	User      *user          `json:"user"`
	OptionIDs jsontext.Value `json:"option_ids"`
	Rest      jsontext.Value `json:",embed"`
}

// interaction is any of the objects that say what somebody asked of the bot or did for it.
type interaction struct {
	ID              string         `json:"id"`
	From            *user          `json:"from"`
	User            *user          `json:"user"`
	Chat            *chat          `json:"chat"`
	Message         *asked         `json:"message"`
	InlineMessageID string         `json:"inline_message_id"`
	Date            int64          `json:"date"`
	Rest            jsontext.Value `json:",embed"`

	// ResultID stands in place of an id, and beside the query.
	ResultID string `json:"result_id"`
	// What was chosen or typed: one of them, by kind.
	ButtonData       string `json:"data"`
	Query            string `json:"query"`
	InvoicePayload   string `json:"invoice_payload"`
	PaidMediaPayload string `json:"paid_media_payload"`
}

// asked is the message under which a button was pressed; nothing but its name is left of an InaccessibleMessage.
type asked struct {
	MessageID            int64  `json:"message_id"`
	EphemeralMessageID   int64  `json:"ephemeral_message_id"`
	BusinessConnectionID string `json:"business_connection_id"`
	Chat                 chat   `json:"chat"`
}

type businessConnection struct {
	ID         string         `json:"id"`
	User       *user          `json:"user"`
	UserChatID int64          `json:"user_chat_id"`
	Date       int64          `json:"date"`
	IsEnabled  bool           `json:"is_enabled"`
	Rest       jsontext.Value `json:",embed"`
}

// boostUpdated is a ChatBoostUpdated.
type boostUpdated struct {
	Chat  chat  `json:"chat"`
	Boost boost `json:"boost"`
}

type boost struct {
	BoostID        string      `json:"boost_id"`
	AddDate        int64       `json:"add_date"`
	ExpirationDate int64       `json:"expiration_date"`
	Source         boostSource `json:"source"`
}

type boostSource struct {
	Source string         `json:"source"`
	User   *user          `json:"user"`
	Rest   jsontext.Value `json:",embed"`
}

// boostRemoved is a ChatBoostRemoved.
type boostRemoved struct {
	Chat       chat   `json:"chat"`
	BoostID    string `json:"boost_id"`
	RemoveDate int64  `json:"remove_date"`
}
