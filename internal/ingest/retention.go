package ingest

import "time"

// KeptFor is why a day of the ledger stays that is older than the retention.
type KeptFor string

// What keeps a day.
const (
	// KeptForEvents says that a subscriber has not taken an event yet that follows from an update of the day.
	KeptForEvents KeptFor = "unrelayed_events"
	// KeptForDeadLetters says that a dead letter of the day waits for somebody.
	KeptForDeadLetters KeptFor = "open_dead_letters"
	// KeptForReplay says that a replay is reading the day, or will come to it.
	KeptForReplay KeptFor = "running_replay"
)

// Trimmed is what became of the days of the ledger that are older than the retention. Days are their midnights in UTC.
type Trimmed struct {
	// Dropped is the days that this call has dropped, the oldest first; not those in which another call was faster.
	Dropped []time.Time
	// Kept is why each of the others stays.
	Kept map[time.Time]KeptFor
	// Undecided counts the days that were not come to.
	Undecided int
}
