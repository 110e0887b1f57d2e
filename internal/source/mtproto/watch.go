package mtproto

import (
	"context"
	"time"

	"github.com/tgfleet/tgfleet/internal/pause"
)

const (
	// watchEvery is how often it is looked whether another Redis takes the updates, and every how many looks Telegram is asked where they stand.
	watchEvery = 15 * time.Second
	askEvery   = 4
	// A client is stuck when Telegram has not answered unansweredMost times in a row, or was ahead of what came behindMost times in a row and
	// nothing moved, though the difference was asked for each time.
	unansweredMost = 3
	behindMost     = 3
)

// watch ends the client when it is stuck, and when another Redis has taken over, for the next one to begin further back. gotd finds dead
// connections by pings of its own; calling its Ping while it reconnects can panic, so that Telegram is asked something instead.
func (s *client) watch(ctx context.Context) error {
	unanswered, behind, lastPts := 0, 0, 0
	for look := 1; pause.For(ctx, pause.Spread(watchEvery)); look++ {
		if s.redisChanged(ctx) {
			return errRedisChanged
		}
		if look%askEvery != 0 {
			continue
		}
		remote, err := s.differences.UpdatesGetState(ctx)
		if err != nil {
			if unanswered++; unanswered >= unansweredMost {
				return errStuck
			}
			continue
		}
		unanswered = 0
		at := s.state.pts()
		if remote.Pts <= at || at != lastPts {
			behind, lastPts = 0, at
			continue
		}
		if behind++; behind >= behindMost {
			return errStuck
		}
		s.intake.ask()
	}
	return ctx.Err()
}
