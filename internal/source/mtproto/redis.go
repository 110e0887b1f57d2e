package mtproto

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/tgfleet/tgfleet/internal/account"
)

const (
	// rewindBy is how far a client goes back when another Redis has taken over: what a failover can lose is bounded by seconds.
	rewindBy = 10 * time.Minute
	// askRedisEvery bounds how often Redis is asked for its name, for all accounts of a listener together.
	askRedisEvery = 5 * time.Second
)

// takingRedis knows the name of the Redis that takes the updates. Any number of goroutines may use it.
type takingRedis struct {
	queue Queue

	// mu guards what was answered last, and when.
	mu   sync.Mutex
	name string
	err  error
	at   time.Time
}

// id returns the name, as it was not long ago.
func (r *takingRedis) id(ctx context.Context) (string, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if time.Since(r.at) < askRedisEvery {
		return r.name, r.err
	}
	ctx, cancel := context.WithTimeout(ctx, storeWithin)
	defer cancel()
	r.name, r.err = r.queue.ReplicationID(ctx)
	r.at = time.Now()
	return r.name, r.err
}

// checkRedis goes back to an earlier state when another Redis takes the updates than the one that has taken those before: it may lack the last
// ones. It returns the name of the one that takes them now; of a Redis that does not answer nothing is known, and what goes to the spool meanwhile
// is in no Redis.
func (h *holder) checkRedis(ctx context.Context, l account.Lease) (string, error) {
	now, err := h.redis.id(ctx)
	if err != nil {
		h.log.Info("not known which redis takes the updates", "error", err)
		return "", nil
	}
	ctx, cancel := context.WithTimeout(ctx, storeWithin)
	defer cancel()
	before, err := h.cfg.States.QueueID(ctx, h.id)
	if err != nil || before == now {
		return now, err
	}
	if before != "" {
		rewound, err := h.cfg.States.Rewind(ctx, l, h.id, rewindBy)
		if err != nil {
			return "", fmt.Errorf("go back to an earlier state: %w", err)
		}
		if err := h.cfg.Backfills.Rewind(ctx, l, h.id, rewindBy); err != nil {
			return "", fmt.Errorf("go back to earlier pages: %w", err)
		}
		if rewound {
			h.metrics.rewinds.Inc()
			h.log.Warn("another redis has taken over, updates are asked for again", "of_the_last", rewindBy)
		}
	}
	return now, h.cfg.States.SetQueueID(ctx, l, h.id, now)
}

// redisChanged tells whether another Redis takes the updates than when the client began.
func (s *client) redisChanged(ctx context.Context) bool {
	now, err := s.holder.redis.id(ctx)
	return err == nil && now != s.redis
}
