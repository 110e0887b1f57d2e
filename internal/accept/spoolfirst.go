package accept

import (
	"context"
	"log/slog"
	"time"

	"github.com/tgfleet/tgfleet/internal/accept/batch"
	"github.com/tgfleet/tgfleet/internal/fault"
	"github.com/tgfleet/tgfleet/internal/ingest"
	"github.com/tgfleet/tgfleet/internal/obs"
)

// taskHead is how long a row of the spool waits for its task to be done before workers take the row itself.
const taskHead = 30 * time.Second

// spoolFirst writes each batch to the spool and then to the queue.
type spoolFirst struct {
	queue   Queue
	spool   Spool
	log     *slog.Logger
	beat    *obs.Beat
	metrics *metrics
}

func newSpoolFirst(cfg Config) *spoolFirst {
	return &spoolFirst{queue: cfg.Queue, spool: cfg.Spool, log: cfg.Log, beat: cfg.Beat, metrics: newMetrics(cfg.Registerer)}
}

// write answers once the row is durable; the task only makes it fast.
func (s *spoolFirst) write(ctx context.Context, envelopes []ingest.Envelope) error {
	id, err := s.putAside(ctx, envelopes)
	if err != nil {
		s.metrics.refused(len(envelopes))
		return fault.As(fault.Transient, err)
	}
	s.metrics.accepted(toSpool, len(envelopes))
	if err := s.put(ctx, batch.Batch{SpoolID: id, Envelopes: envelopes}); err != nil {
		s.log.Warn("queue takes no updates, workers will find them in the spool", "spool_id", id, "error", err)
	}
	return nil
}

func (s *spoolFirst) putAside(ctx context.Context, envelopes []ingest.Envelope) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, spoolWithin)
	defer cancel()
	start := time.Now()
	id, err := s.spool.Put(ctx, spooled(envelopes, time.Now().Add(taskHead)))
	s.metrics.flushed(toSpool, len(envelopes), time.Since(start), err)
	return id, err
}

func (s *spoolFirst) put(ctx context.Context, b batch.Batch) error {
	ctx, cancel := context.WithTimeout(ctx, queueWithin)
	defer cancel()
	start := time.Now()
	err := s.queue.Put(ctx, b)
	s.metrics.flushed(toQueue, len(b.Envelopes), time.Since(start), err)
	return err
}

// watch only shows that the process lives: there is no breaker here, a queue in the same process has no outage of its own.
func (s *spoolFirst) watch(ctx context.Context) {
	tick := time.NewTicker(pressureEvery)
	defer tick.Stop()
	for {
		s.beat.Tick()
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}
