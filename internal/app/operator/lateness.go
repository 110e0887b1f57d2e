package operator

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/tgfleet/tgfleet/internal/queue"
	"github.com/tgfleet/tgfleet/internal/store"
	"github.com/tgfleet/tgfleet/internal/tasks"
)

// lookWithin bounds one look at what waits.
const lookWithin = 5 * time.Second

// liveLine is the way of live updates to the archive, and how late they are on it. It belongs to one goroutine.
type liveLine struct {
	spool *store.Spool
	// queue is nil where no Redis is named.
	queue  *queue.Client
	looked time.Time
	was    time.Duration
}

// newLiveLine returns the line of this fleet, and what closes it.
func (s *session) newLiveLine() (line liveLine, closeLine func() error, err error) {
	line.spool = s.db.Spool()
	if s.cfg.RedisURL == "" {
		return line, func() error { return nil }, nil
	}
	line.queue, err = queue.Open(s.cfg.RedisURL, queue.Options{
		Log: slog.New(slog.DiscardHandler), Shards: map[queue.Class]int{tasks.IngestClass: s.cfg.IngestQueues},
	})
	if err != nil {
		return liveLine{}, nil, fmt.Errorf("REDIS_URL: %w", err)
	}
	return line, line.queue.Close, nil
}

// late returns how long the oldest update that waits has been waiting, as it was seen a second ago at most. Where Redis does not
// answer, live updates are in the spool.
func (l *liveLine) late(ctx context.Context) (time.Duration, error) {
	if time.Since(l.looked) < lookEvery {
		return l.was, nil
	}
	looking, cancel := context.WithTimeout(ctx, lookWithin)
	defer cancel()
	waiting, oldest, err := l.spool.Backlog(looking)
	if err != nil {
		return 0, err
	}
	l.looked, l.was = time.Now(), 0
	if waiting > 0 {
		l.was = time.Since(oldest)
	}
	if l.queue != nil {
		if depth, err := l.queue.Depth(looking, tasks.IngestClass); err == nil {
			l.was = max(l.was, depth.Oldest)
		}
	}
	return l.was, nil
}
