package simulator

import (
	"context"
	"errors"
	"time"

	"github.com/tgfleet/tgfleet/internal/content"
)

// TrafficConfig says how much traffic there is.
type TrafficConfig struct {
	// Rate is how many updates a second all bots get together, on average; 0 posts them as fast as it can.
	Rate float64
	// Burst is how many things may happen at one moment, now and then; at 0 and 1 they happen one by one. It does not
	// change the average.
	Burst int
	// Limit ends the traffic after exactly that many updates with an id; 0 goes on until the context ends.
	Limit int
}

const (
	// burstEvery is how many moments there are, on average, to one with a burst.
	burstEvery = 20
	// mostCatchUp is how far the traffic may fall behind its rate and still make up for it.
	mostCatchUp = time.Second
)

// Traffic lets people talk to the bots that were added so far, until the limit is reached or ctx ends; both return nil. It is
// an error when there are no bots. The updates are posted whether or not anyone takes them: Run or getUpdates deliver them.
// It must not run twice at once.
func (s *Server) Traffic(ctx context.Context, cfg TrafficConfig) error {
	s.mu.Lock()
	if len(s.bots) == 0 {
		s.mu.Unlock()
		return errors.New("simulate traffic: no bots")
	}
	t := s.newTown(cfg.Limit)
	s.mu.Unlock()
	next := s.clock.Now()
	for ctx.Err() == nil && t.left != 0 {
		happened := t.moment(cfg.Burst)
		if cfg.Rate <= 0 {
			continue
		}
		now := s.clock.Now()
		if now.Sub(next) > mostCatchUp {
			next = now
		}
		next = next.Add(time.Duration(t.random.ExpFloat64() * float64(happened) / cfg.Rate * float64(time.Second)))
		sleep(ctx, s.clock, next.Sub(now))
	}
	return nil
}

// moment lets one thing happen, or a burst of them, and returns how many updates that made, filtered ones included.
func (t *town) moment(burst int) int {
	s := t.server
	s.mu.Lock()
	defer s.mu.Unlock()
	before := s.counts.Posted + s.counts.Filtered
	things := 1
	if burst > 1 && chance(t.random, burstEvery) {
		things = 2 + t.random.IntN(burst-1)
	}
	for range things {
		t.happen()
	}
	return s.counts.Posted + s.counts.Filtered - before
}

// life is what happens, how often of a hundred times, and whether it happens in channels, too.
var life = []struct {
	share      int
	inChannels bool
	happen     func(*town, *room)
}{
	{66, true, (*town).talkInRoom},
	{3, true, (*town).album},
	{11, true, (*town).edit},
	{4, false, (*town).press},
	{3, false, (*town).search},
	{5, true, (*town).react},
	{1, false, (*town).promote},
	{2, false, (*town).move},
	{2, false, (*town).vote},
	{2, false, (*town).housekeep},
	{1, false, (*town).invent},
}

// happen lets one thing happen in some room.
func (t *town) happen() {
	at := t.random.IntN(100)
	for _, kind := range life {
		if at -= kind.share; at >= 0 {
			continue
		}
		r := t.somewhere()
		if r.chat.info.Type == content.Channel && !kind.inChannels {
			r = pick(t.random, t.talk)
		}
		kind.happen(t, r)
		return
	}
}
