// Package accept is the sink that every source puts its updates into. It answers only after an update is durable: in the queue or,
// while the queue does not take it, in the database's spool. Concurrent accepts share one task (group commit), so that a busy front
// costs Redis one round trip for many updates and an idle one adds no delay. It guarantees no order and
// keeps nothing in memory once it has answered; it looks into no update.
package accept

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tgfleet/tgfleet/internal/accept/batch"
	"github.com/tgfleet/tgfleet/internal/fault"
	"github.com/tgfleet/tgfleet/internal/groupcommit"
	"github.com/tgfleet/tgfleet/internal/ingest"
	"github.com/tgfleet/tgfleet/internal/obs"
)

const (
	// maxTaskItems and maxTaskSizeBytes bound a task: asynq writes the payload of every active task to Redis again every five
	// seconds, so tasks stay small.
	maxTaskItems     = 64
	maxTaskSizeBytes = 256 << 10
	// maxWaiting and maxWaitingSizeBytes bound the updates that wait for a flush; beyond them Telegram keeps them.
	maxWaiting          = 4096
	maxWaitingSizeBytes = 64 << 20
)

// Queue takes batches to the workers.
type Queue interface {
	// Put returns nil once b is durable.
	Put(ctx context.Context, b batch.Batch) error
	// Probe succeeds when a Put would.
	Probe(ctx context.Context) error
	// MemoryUsed returns how much of its memory the queue has used, from 0 to 1; 0 when there is no limit.
	MemoryUsed(ctx context.Context) (float64, error)
}

// Spool keeps batches in the database.
type Spool interface {
	// Put returns the row's id once the row is durable.
	Put(ctx context.Context, row ingest.Spooled) (int64, error)
	// Probe succeeds when a Put would.
	Probe(ctx context.Context) error
}

// Config is what a Sink is made of. Every field must be set.
type Config struct {
	Queue Queue
	Spool Spool
	Log   *slog.Logger
	// Registerer takes the sink's metrics.
	Registerer prometheus.Registerer
	// Beat ticks while the sink's own loop moves.
	Beat *obs.Beat
}

// Sink is an ingest.Sink. Run must run for Accept to return.
type Sink struct {
	group   *groupcommit.Group[ingest.Envelope]
	metrics *metrics
	run     func(ctx context.Context)
}

// New returns a sink for a queue that outlives this process: the queue comes first, and the spool takes what the queue does not.
func New(cfg Config) *Sink {
	w := newFallback(cfg)
	return newSink(w.write, w.watch, w.metrics, cfg.Log)
}

// NewSpoolFirst returns a sink for a queue that dies with this process: each batch goes into the spool, and then into the queue.
// The archive deletes the row as it commits the batch, and what a dead process left behind is found in the spool.
func NewSpoolFirst(cfg Config) *Sink {
	w := newSpoolFirst(cfg)
	return newSink(w.write, w.watch, w.metrics, cfg.Log)
}

// writer makes envelopes durable, all or none.
type writer func(ctx context.Context, envelopes []ingest.Envelope) error

func newSink(write writer, watch func(context.Context), m *metrics, log *slog.Logger) *Sink {
	group := groupcommit.New(groupcommit.Config[ingest.Envelope]{
		Write:         write.guarded(m, log),
		MaxItems:      maxTaskItems,
		Weight:        func(env ingest.Envelope) int { return batch.SizeBytes(&env) },
		MaxWeight:     maxTaskSizeBytes,
		Flights:       1,
		Backlog:       maxWaiting,
		BacklogWeight: maxWaitingSizeBytes,
	})
	m.watchWaiting(group.Waiting)
	return &Sink{group: group, metrics: m, run: watch}
}

// guarded returns a writer that survives a panic of w: the updates are refused, so that Telegram keeps them, and the log says where.
func (w writer) guarded(m *metrics, log *slog.Logger) writer {
	return func(ctx context.Context, envelopes []ingest.Envelope) error {
		err := groupcommit.Guard(func() error { return w(ctx, envelopes) })
		var panicked *groupcommit.PanicError
		if errors.As(err, &panicked) {
			m.refused(len(envelopes))
			log.Error("flush panicked", "error", err, "stack", string(panicked.Stack))
			return fault.As(fault.Transient, err)
		}
		return err
	}
}

// Accept puts env into safety, as ingest.Sink says.
func (s *Sink) Accept(ctx context.Context, env ingest.Envelope) error {
	err := s.group.Do(ctx, env)
	if errors.Is(err, groupcommit.ErrFull) || errors.Is(err, groupcommit.ErrStopped) {
		s.metrics.refused(1) // no flush has seen it
	}
	return err
}

// Run flushes until ctx ends, and then what still waits.
func (s *Sink) Run(ctx context.Context) error {
	watched := make(chan struct{})
	watching, stop := context.WithCancel(context.WithoutCancel(ctx))
	go func() {
		defer close(watched)
		s.run(watching)
	}()
	err := s.group.Run(ctx)
	stop()
	<-watched
	return err
}

// spooled returns the spool's row for envelopes, due when due says.
func spooled(envelopes []ingest.Envelope, due time.Time) ingest.Spooled {
	oldest := envelopes[0].ReceivedAt
	for i := range envelopes {
		if envelopes[i].ReceivedAt.Before(oldest) {
			oldest = envelopes[i].ReceivedAt
		}
	}
	return ingest.Spooled{
		Payload: batch.Encode(batch.Batch{Envelopes: envelopes}),
		Updates: len(envelopes), OldestAt: oldest, DueAt: due,
	}
}
