package simulator

import (
	"fmt"
	"time"

	"github.com/tgfleet/tgfleet/internal/account"
)

// Order is which of the due updates is sent next to a webhook.
type Order uint8

// The orders.
const (
	// InOrder is Telegram's: the update that has been due for longest, and within a queue the oldest.
	InOrder Order = iota
	// AcrossQueues keeps each queue first-in first-out and picks among the queues at random, so that a later update of one
	// overtakes an earlier update of another.
	AcrossQueues
	// AnyOrder breaks the queues as well, as Telegram never does: for tests that order means nothing.
	AnyOrder
)

// Faults are the troubles that the simulator makes on purpose. The zero Faults make none.
type Faults struct {
	// LostAnswers is the share of updates (0 to 1) whose first 2xx gets lost on its way: the receiver has done its work, and
	// Telegram takes it for a timeout and tries again.
	LostAnswers float64
	// Duplicates is the share of acknowledged updates (0 to 1) that come once more.
	Duplicates float64
	// Order is taken up by updates that are not yet in a queue.
	Order Order
}

// SetFaults replaces the faults from now on.
func (s *Server) SetFaults(faults Faults) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = faults
}

// Redeliver sends an update that was acknowledged once more, the same bytes, before whatever waits in its queue. It needs
// Config.Record, and is an error for an update that is unknown or not acknowledged.
func (s *Server) Redeliver(bot account.BotID, updateID int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, u := range s.records {
		if u.botID == bot && u.id == updateID && u.outcome == Acknowledged {
			s.repeat(s.find(bot), u, s.clock.Now())
			return nil
		}
	}
	return fmt.Errorf("redeliver update %d of bot %d: no such acknowledged update", updateID, bot)
}

// repeat makes an acknowledged update pending again. The caller holds mu.
func (s *Server) repeat(b *bot, u *update, now time.Time) {
	s.counts.Acknowledged--
	s.restore(b, u)
	if b.webhook != nil {
		u.fails, u.delaySeconds = 0, 1
		b.webhook.overtake(u, s.queueOf(u), now)
	}
	b.stir()
}

// losesAnswer decides, once for each update, whether its 2xx gets lost. The caller holds mu.
func (s *Server) losesAnswer(u *update) bool {
	if u.lostAnswer || s.random.Float64() >= s.faults.LostAnswers {
		return false
	}
	u.lostAnswer = true
	return true
}

// duplicates decides, once for each update, whether it comes again. The caller holds mu.
func (s *Server) duplicates(u *update) bool {
	if u.duplicated || s.random.Float64() >= s.faults.Duplicates {
		return false
	}
	u.duplicated = true
	return true
}
