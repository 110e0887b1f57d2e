package accept

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/tgfleet/tgfleet/internal/accept/batch"
	"github.com/tgfleet/tgfleet/internal/fault"
	"github.com/tgfleet/tgfleet/internal/ingest"
	"github.com/tgfleet/tgfleet/internal/obs"
)

const (
	// queueWithin is how long a batch may wait for the queue before it goes to the spool.
	queueWithin = 500 * time.Millisecond
	// spoolWithin is how long it may wait for the spool.
	spoolWithin = 2 * time.Second
	// probeEvery is how often a queue that failed is looked at again, and pressureEvery one that works.
	probeEvery    = 250 * time.Millisecond
	pressureEvery = 2 * time.Second
	// spoolPause is for how long a spool that failed is left alone.
	spoolPause = time.Second
	// highWater is the share of Redis's memory from which batches go to the spool: the rest is for the tasks that
	// workers hold and for asynq's own keys. lowWater is where they go back to the queue.
	highWater = 0.90
	lowWater  = 0.85
)

var errNothingDurable = errors.New("neither the queue nor the spool takes updates")

// fallback writes to the queue, and to the spool while a breaker keeps the queue out.
type fallback struct {
	queue   Queue
	spool   Spool
	log     *slog.Logger
	beat    *obs.Beat
	metrics *metrics

	mu sync.Mutex
	// queueOut says why the queue is left out; empty while it is used. Set by a flush that failed and by watch, cleared by watch.
	queueOut reason
	// spoolBack is when the spool may be tried again. Set and read by flushes.
	spoolBack time.Time
}

// reason is why the queue is left out.
type reason string

const (
	queueFailed reason = "failed"
	queueFull   reason = "full"
)

func newFallback(cfg Config) *fallback {
	return &fallback{queue: cfg.Queue, spool: cfg.Spool, log: cfg.Log, beat: cfg.Beat, metrics: newMetrics(cfg.Registerer)}
}

// write makes envelopes durable. The bound on its time is queueWithin + spoolWithin; while both stores are known to be away it
// answers at once, so that a queue of callers is not kept waiting for one time-out after another.
func (f *fallback) write(ctx context.Context, envelopes []ingest.Envelope) error {
	out := f.queueOutFor()
	if out == "" && f.put(ctx, envelopes) || f.putAside(ctx, envelopes) {
		return nil
	}
	// A queue that only runs full still takes what nobody else takes.
	if out == queueFull && f.put(ctx, envelopes) {
		return nil
	}
	f.metrics.refused(len(envelopes))
	return fault.As(fault.Transient, errNothingDurable)
}

// put reports whether the queue took envelopes.
func (f *fallback) put(ctx context.Context, envelopes []ingest.Envelope) bool {
	ctx, cancel := context.WithTimeout(ctx, queueWithin)
	defer cancel()
	start := time.Now()
	err := f.queue.Put(ctx, batch.Batch{Envelopes: envelopes})
	f.metrics.flushed(toQueue, len(envelopes), time.Since(start), err)
	if err != nil {
		f.leaveQueueOut(queueFailed, err)
		return false
	}
	f.metrics.accepted(toQueue, len(envelopes))
	return true
}

// putAside reports whether the spool took envelopes.
func (f *fallback) putAside(ctx context.Context, envelopes []ingest.Envelope) bool {
	if !f.spoolUsed() {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, spoolWithin)
	defer cancel()
	start := time.Now()
	_, err := f.spool.Put(ctx, spooled(envelopes, time.Time{}))
	f.metrics.flushed(toSpool, len(envelopes), time.Since(start), err)
	if err != nil {
		f.pauseSpool(err)
		return false
	}
	f.metrics.accepted(toSpool, len(envelopes))
	return true
}

// watch looks at the queue until ctx ends: it lets a queue back in that works again, and leaves one out whose memory runs full.
func (f *fallback) watch(ctx context.Context) {
	next := time.NewTimer(0)
	defer next.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-next.C:
		}
		f.beat.Tick()
		f.look(ctx)
		if f.queueUsed() {
			next.Reset(pressureEvery)
		} else {
			next.Reset(probeEvery)
		}
	}
}

func (f *fallback) look(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, queueWithin)
	defer cancel()
	out := f.queueOutFor()
	if out != "" {
		if err := f.queue.Probe(ctx); err != nil {
			return
		}
	}
	used, err := f.queue.MemoryUsed(ctx)
	switch {
	case err != nil && out == "":
		f.log.Debug("memory of the queue unknown", "error", err)
	case err == nil && used >= highWater && out == "":
		f.leaveQueueOut(queueFull, nil)
	case out != "" && (err != nil || used < lowWater):
		f.useQueue()
	}
}

func (f *fallback) queueUsed() bool { return f.queueOutFor() == "" }

func (f *fallback) queueOutFor() reason {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.queueOut
}

func (f *fallback) leaveQueueOut(why reason, err error) {
	f.mu.Lock()
	first := f.queueOut == ""
	f.queueOut = why
	f.mu.Unlock()
	if first {
		f.metrics.breakerOpen.Set(1)
		f.log.Warn("queue left out, updates go to the spool", "reason", string(why), "error", err)
	}
}

func (f *fallback) useQueue() {
	f.mu.Lock()
	f.queueOut = ""
	f.mu.Unlock()
	f.metrics.breakerOpen.Set(0)
	f.log.Info("queue used again")
}

func (f *fallback) spoolUsed() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return !time.Now().Before(f.spoolBack)
}

func (f *fallback) pauseSpool(err error) {
	f.mu.Lock()
	f.spoolBack = time.Now().Add(spoolPause)
	f.mu.Unlock()
	f.log.Error("spool takes no updates", "error", err)
}
