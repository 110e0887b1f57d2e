// Package content holds the words for what Telegram's updates are about (chats, users, messages, media) in the project's own
// shape, the same for every source, and the change set in which a normaliser hands them to the archive. A value here is
// a snapshot with a version; which snapshot wins is decided by versions alone. The package does no I/O and uses the
// standard library only.
package content

import "github.com/tgfleet/tgfleet/internal/ingest"

// ChatID is a chat's id in the style of the Bot API: users positive, basic groups negated, channels and supergroups -100...
type ChatID int64

// aboveChannels is where the ids of channels and supergroups begin, downwards. Source: https://core.telegram.org/api/bots/ids.
const aboveChannels ChatID = -1_000_000_000_000

// ChatOfChannel returns the id of the chat that MTProto calls the channel id, whether it is a channel or a supergroup.
func ChatOfChannel(id int64) ChatID { return aboveChannels - ChatID(id) }

// Channel returns what MTProto calls a channel or a supergroup; ok is false for another kind of chat.
func (c ChatID) Channel() (id int64, ok bool) { return int64(aboveChannels - c), c < aboveChannels }

// UserID is a user's or a bot's id.
type UserID int64

// TelegramItself is the user that Telegram itself writes as, login codes among other things, and so the chat with it, too. Source:
// https://core.telegram.org/api/auth, where clients are told to look for codes in its messages.
const TelegramItself = 777000

// MessageID is a message's id within its chat (or, in private chats and basic groups, within the account that received it).
type MessageID int64

// Scope says whose numbering a message id belongs to. ScopeShared is that of channels and supergroups, where every account
// sees the same ids; a positive scope is the id of the receiving account; a negative one is a hash (a business connection and
// the like).
type Scope int64

// ScopeShared is the scope of channels and supergroups.
const ScopeShared Scope = 0

// ChatType is Telegram's word for what kind of chat a chat is.
type ChatType string

// The chat types of the Bot API.
const (
	Private    ChatType = "private"
	Group      ChatType = "group"
	Supergroup ChatType = "supergroup"
	Channel    ChatType = "channel"
)

// ScopeOf returns the scope of an ordinary message that account received in a chat of type t.
func ScopeOf(t ChatType, account int64) Scope {
	if t == Supergroup || t == Channel {
		return ScopeShared
	}
	return Scope(account)
}

// Chat is a snapshot of a chat.
type Chat struct {
	ID        ChatID
	Version   Version
	Type      ChatType
	Title     string
	Username  string
	FirstName string
	LastName  string
	IsForum   bool
}

// User is a snapshot of a user. Its fields come in two groups, each with a version of its own, because sources see
// different parts of a user: the profile, and the language, which Telegram tells only in some places. The empty
// LanguageVersion says that this snapshot knows nothing of the language.
type User struct {
	ID        UserID
	Version   Version
	IsBot     bool
	FirstName string
	LastName  string
	Username  string
	IsPremium bool

	LanguageVersion Version
	LanguageCode    string
}

// ChangeSet is everything that one update says, in the archive's words. It is a pure function of the envelope and of the
// normaliser's version.
type ChangeSet struct {
	Update   Update
	Chats    []Chat
	Users    []User
	Messages []Message
	// Deletions names messages that are gone, whether or not they were ever seen.
	Deletions []Deletion

	Memberships         []Membership
	Reactions           []Reaction
	ReactionCounts      []ReactionCount
	Polls               []Poll
	PollAnswers         []PollAnswer
	Interactions        []Interaction
	BusinessConnections []BusinessConnection
	ChatBoosts          []ChatBoost
	ChatAliases         []ChatAlias

	// Holes names what the source is known not to have told.
	Holes        []Hole
	AccessHashes []AccessHash
}

// Update is the ledger's row: the update as it came, and what it is about.
type Update struct {
	Envelope ingest.Envelope
	Hash     ingest.Hash
	UpdateID int64
	Kind     ingest.Kind
	// ChatID is the chat that the update is about, or 0.
	ChatID ChatID
	// NormaliserVersion is the version of the normaliser that read the update.
	NormaliserVersion uint16
}

// Batch is one unit of work for the archive: what is written in one transaction or not at all.
type Batch struct {
	Changes     []ChangeSet
	DeadLetters []ingest.DeadLetter
	// SpoolIDs names the spool rows that this batch carries out; they are deleted with its commit.
	SpoolIDs []int64
}

// Outcome is what a batch changed.
type Outcome struct {
	// Updates counts the updates that the ledger had not seen; the others of the batch were repeats.
	Updates int
	// Messages counts the messages that were seen for the first time.
	Messages int
	// Revisions counts the new distinct contents of messages.
	Revisions int
	// Events counts the events that went into the outbox.
	Events int
	// DeadLetters counts the dead letters that were new.
	DeadLetters int
}
