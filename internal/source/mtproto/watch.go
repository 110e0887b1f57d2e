package mtproto

import (
	"context"
	"time"

	"github.com/tgfleet/tgfleet/internal/pause"
)

const (
	// watchEvery is how often the client is looked at.
	watchEvery = 15 * time.Second
	// pingWithin is how long Telegram may take to answer a ping, and pingsLost how many pings in a row may stay unanswered.
	pingWithin = 15 * time.Second
	pingsLost  = 4
	// behindEvery is every how many looks Telegram is asked where the updates stand. When that is ahead of what came, the difference is asked
	// for; when it is ahead behindMost times in a row and nothing moved, the client is stuck.
	behindEvery = 20
	behindMost  = 3
)

// watch ends the client when it is stuck: no answer to pings, or updates that Telegram has and that do not come. It also ends it when another
// Redis has taken over, for the next one to begin further back.
func (s *client) watch(ctx context.Context) error {
	lost, behind, lastPts := 0, 0, 0
	for look := 1; pause.For(ctx, pause.Spread(watchEvery)); look++ {
		if s.queueChanged(ctx) {
			return errQueueChanged
		}
		if s.ping(ctx) {
			lost = 0
		} else if lost++; lost >= pingsLost {
			return errStuck
		}
		if look%behindEvery != 0 {
			continue
		}
		at := s.state.pts()
		if s.isBehind(ctx, at) && at == lastPts {
			if behind++; behind >= behindMost {
				return errStuck
			}
			s.intake.ask()
		} else {
			behind = 0
		}
		lastPts = at
	}
	return ctx.Err()
}

func (s *client) ping(ctx context.Context) bool {
	within, cancel := context.WithTimeout(ctx, pingWithin)
	defer cancel()
	return s.telegram.Ping(within) == nil || ctx.Err() != nil
}

// isBehind tells whether Telegram has common updates beyond pts.
func (s *client) isBehind(ctx context.Context, pts int) bool {
	state, err := s.differences.UpdatesGetState(ctx)
	return err == nil && state.Pts > pts
}
