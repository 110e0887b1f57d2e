package content

import "time"

// HoleReason is why updates are known to be missing.
type HoleReason string

// The reasons of holes (https://core.telegram.org/api/updates#recovering-gaps).
const (
	// ChannelTooLong: Telegram said that a channel has moved on by more than it will push.
	ChannelTooLong HoleReason = "channel_too_long"
	// ChannelDifferenceTooLong: a channel's difference left out all but its newest messages.
	ChannelDifferenceTooLong HoleReason = "channel_difference_too_long"
	// DifferenceTooLong: the account's difference left everything out.
	DifferenceTooLong HoleReason = "difference_too_long"
)

// Hole says that updates of a chat, or of all chats of an account that number by account, did not come and will not by themselves.
type Hole struct {
	// AccountID is the account whose source has the hole.
	AccountID int64
	// ChatID is the chat that has it; 0 for an account's private chats and basic groups together.
	ChatID ChatID
	Reason HoleReason
	// FromPts is the last known place before the hole, ToPts the first behind it; 0 where Telegram does not say.
	FromPts, ToPts int
	// BelowMessageID is the oldest message that came with the answer that left others out; 0 where none did. Between it and the newest others may
	// be missing.
	BelowMessageID MessageID
	FoundAt        time.Time
}

// AccessHash is what one account proves with that it may see a user or a channel.
type AccessHash struct {
	AccountID int64
	// Peer is the user's or the channel's id, in the style of the Bot API.
	Peer ChatID
	Hash int64
	// Version orders the hash among those that the account was told of the peer.
	Version Version
}
