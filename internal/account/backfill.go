package account

import (
	"time"

	"github.com/tgfleet/tgfleet/internal/content"
)

// Backfill is the reading of a chat's history by a connector, page by page, newest message first.
type Backfill struct {
	ID          int64
	ConnectorID string
	// ChatID is the chat in the style of the Bot API.
	ChatID content.ChatID
	// HoleID is the hole that it fills; 0 when an operator asked for it.
	HoleID int64
	// Takeout says that it is read in a session for export, to which Telegram grants more and which the account's owner has to allow.
	Takeout bool
	// Since ends the backfill with the first message that is older; the zero time does not.
	Since time.Time

	// Messages below Begin are read (0: from the newest on), down to Floor, which is not read itself.
	Begin, Floor content.MessageID
	// Top is the newest message that was read and Cursor the oldest, each with all between them; both 0 while none was.
	Top, Cursor content.MessageID
	// Total is how many messages Telegram says that the chat has; 0 while it has not.
	Total int
	// Messages and Pages count what was read.
	Messages, Pages int

	Status BackfillStatus
	// Reason is why it failed: Telegram's kind of error.
	Reason                        string
	CreatedAt, StartedAt, EndedAt time.Time
}

// BackfillStatus is where a backfill stands.
type BackfillStatus string

// The statuses of backfills. The last three are the ends.
const (
	BackfillWaiting   BackfillStatus = "waiting"
	BackfillRunning   BackfillStatus = "running"
	BackfillDone      BackfillStatus = "done"
	BackfillFailed    BackfillStatus = "failed"
	BackfillCancelled BackfillStatus = "cancelled"
)

// Ended says whether nothing more happens after s.
func (s BackfillStatus) Ended() bool {
	return s == BackfillDone || s == BackfillFailed || s == BackfillCancelled
}

// Share returns how much of the backfill is read, from 0 to 1, as far as what is known tells: by the ids of messages where both ends are known,
// else by the count of the chat's messages.
func (b *Backfill) Share() float64 {
	switch {
	case b.Status == BackfillDone:
		return 1
	case b.Cursor == 0:
		return 0
	case b.Floor > 0 && b.Top > b.Floor:
		return float64(b.Top-b.Cursor+1) / float64(b.Top-b.Floor)
	case b.Total > 0:
		return min(1, float64(b.Messages)/float64(b.Total))
	default:
		return 0
	}
}

// Hole is a hole in what an account was told, as it is stored.
type Hole struct {
	content.Hole
	ID     int64
	Status HoleStatus
}

// HoleStatus is what became of a hole.
type HoleStatus string

// The statuses of holes.
const (
	HoleOpen   HoleStatus = "open"
	HoleFilled HoleStatus = "filled"
	// HoleGivenUp holes can't be filled: Telegram refuses the history, or somebody has cancelled the backfill.
	HoleGivenUp HoleStatus = "given_up"
)
