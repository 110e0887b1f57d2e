package content

import (
	"strconv"
	"time"

	"github.com/tgfleet/tgfleet/internal/ingest"
)

// The types below are what updates tell of beside messages. Each is one thing as one update shows it, its Version orders it among the
// others of the same thing, and Rest is what Telegram tells of it beyond the fields, by Telegram's names.

// JSON is a JSON text that stored text can hold: it has neither U+0000 nor lone surrogates. The empty text is none.
type JSON string

// Membership is what a user is in a chat.
type Membership struct {
	ChatID  ChatID
	UserID  UserID
	Version Version
	// Status is the Bot API's word: creator, administrator, member, restricted, left or kicked. OldStatus was so before.
	Status, OldStatus string
	// IsMember says whether the user is in the chat; a restricted one may be out of it.
	IsMember  bool
	Date      time.Time
	UntilDate time.Time
	// ActorID is who changed it.
	ActorID UserID
	Rest    JSON
}

// Reaction is how one user, or one chat that speaks for its anonymous owner, reacts to a message; Reactions is an array of Telegram's
// ReactionType, empty when the reaction was taken back.
type Reaction struct {
	Key MessageKey
	// ActorID is a user's id, or a chat's, which is negative.
	ActorID   int64
	Version   Version
	Date      time.Time
	Reactions JSON
}

// ReactionCount is how many reactions of each type a message has whose actors are anonymous; Reactions is an array of Telegram's
// ReactionCount.
type ReactionCount struct {
	Key        MessageKey
	Version    Version
	Date       time.Time
	TotalCount int64
	Reactions  JSON
}

// Poll is a poll as it stands. No update of it has a date, so polls are ordered by how they came, and a closed one is newer than an open one.
type Poll struct {
	ID                    string
	Version               Version
	Question              string
	Type                  string
	IsClosed              bool
	IsAnonymous           bool
	AllowsMultipleAnswers bool
	TotalVoterCount       int64
	CloseDate             time.Time
	// Options is an array of Telegram's PollOption.
	Options JSON
	Rest    JSON
}

// PollAnswer is what one voter of a poll that is not anonymous has chosen.
type PollAnswer struct {
	PollID string
	// VoterID is a user's id, or a chat's, which is negative.
	VoterID int64
	Version Version
	// OptionIDs is an array of numbers, empty when the vote was taken back.
	OptionIDs JSON
	Rest      JSON
}

// Interaction is something that somebody asked of a bot or did for it. It happens once: one update is one interaction.
type Interaction struct {
	Kind    ingest.Kind
	Version Version
	// ID is Telegram's, with which a query is answered; the empty text where there is none.
	ID     string
	FromID UserID
	// Key is the message that it is about. Its MessageID is 0 when it is about none, and its ChatID too when it is about no chat.
	Key             MessageKey
	InlineMessageID string
	// Data is what was chosen or typed: a button's data, a query's text, the id of a result, or the bot's own payload.
	Data string
	Date time.Time
	Rest JSON
}

// BusinessConnection is a bot's connection with a business account.
type BusinessConnection struct {
	ID         string
	Version    Version
	UserID     UserID
	UserChatID ChatID
	Date       time.Time
	IsEnabled  bool
	Rest       JSON
}

// ChatBoost is a boost that somebody gives to a chat. Of a boost that was removed the zero Version says that nothing else is known.
type ChatBoost struct {
	ChatID         ChatID
	BoostID        string
	Version        Version
	AddDate        time.Time
	ExpirationDate time.Time
	// RemovedAt is the zero time unless the update tells of the removal.
	RemovedAt time.Time
	// SourceType is the Bot API's word: premium, gift_code or giveaway.
	SourceType string
	UserID     UserID
	Rest       JSON
}

// ChatAlias says that a basic group became a supergroup. The ids of chats and messages stay as they were delivered.
type ChatAlias struct {
	ChatID           ChatID
	MigratedToChatID ChatID
	Date             time.Time
}

// String returns the key as a path of numbers: <scope>/<chat id>/<message id>.
func (k MessageKey) String() string {
	b := strconv.AppendInt(make([]byte, 0, 48), int64(k.Scope), 10)
	b = append(b, '/')
	b = strconv.AppendInt(b, int64(k.ChatID), 10)
	b = append(b, '/')
	return string(strconv.AppendInt(b, int64(k.MessageID), 10))
}
