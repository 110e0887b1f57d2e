package simulator

import (
	"time"

	"github.com/tgfleet/tgfleet/internal/account"
	"github.com/tgfleet/tgfleet/internal/ingest"
)

// Outcome is what became of an update, as Telegram sees it.
type Outcome string

// The outcomes.
const (
	// Pending updates wait for someone to take them.
	Pending Outcome = "pending"
	// Acknowledged updates were answered with 2xx or confirmed by an offset.
	Acknowledged Outcome = "acknowledged"
	// Expired updates were not taken in time.
	Expired Outcome = "expired"
	// Dropped updates were thrown away by drop_pending_updates, or found the bot's backlog full and never had an id.
	Dropped Outcome = "dropped"
	// Filtered updates are of a kind that the bot's allowed_updates leave out; they never had an id.
	Filtered Outcome = "filtered"
)

// Update is one update as the oracle knows it.
type Update struct {
	BotID account.BotID
	// ID is the update_id; 0 when it never had one.
	ID   int64
	Kind ingest.Kind
	// Raw is the whole Update object, the exact bytes of every try. Nobody may change it.
	Raw      []byte
	PostedAt time.Time
	Outcome  Outcome
	// Attempts counts the tries: webhook requests, and answers to getUpdates that held it.
	Attempts int
	// Told counts how often the receiver said that it has the update: a 2xx, also one that got lost, or an offset past it.
	Told int
	// ToldAt is when the receiver said so first; zero when it never did.
	ToldAt time.Time
}

// Counts sums up what has happened to all updates since the server was made.
type Counts struct {
	// Posted counts the updates that got an id.
	Posted int
	// Filtered counts those that allowed_updates left out.
	Filtered int
	// Pending counts those that wait now.
	Pending int
	// Acknowledged, Expired and Dropped count the ends.
	Acknowledged int
	Expired      int
	Dropped      int
	// Attempts counts the tries, Failures those that failed, and Repeats those of updates that the receiver already had.
	Attempts int
	Failures int
	Repeats  int
}

// Oracle is the truth about what Telegram sent and was told. Its methods may be called from any number of goroutines.
type Oracle struct{ server *Server }

// Oracle returns the server's oracle.
func (s *Server) Oracle() Oracle { return Oracle{s} }

// Counts returns the sums as they are now.
func (o Oracle) Counts() Counts {
	o.server.mu.Lock()
	defer o.server.mu.Unlock()
	return o.server.counts
}

// Updates returns every update posted so far, of all bots, in the order in which they happened. It is empty without
// Config.Record.
func (o Oracle) Updates() []Update {
	o.server.mu.Lock()
	defer o.server.mu.Unlock()
	updates := make([]Update, len(o.server.records))
	for i, u := range o.server.records {
		updates[i] = u.snapshot()
	}
	return updates
}

func (u *update) snapshot() Update {
	return Update{
		BotID: u.botID, ID: u.id, Kind: u.kind, Raw: u.body, PostedAt: u.postedAt, Outcome: u.outcome,
		Attempts: u.attempts, Told: u.told, ToldAt: u.toldAt,
	}
}

// told writes down that the receiver said it has u. The caller holds mu.
func (s *Server) told(u *update, now time.Time) {
	u.told++
	if u.toldAt.IsZero() {
		u.toldAt = now
	}
}
