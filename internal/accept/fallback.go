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
	// flushWithin bounds a flush, whichever store it waits for.
	flushWithin = queueWithin + spoolWithin
	// probeEvery is how often a store that failed is looked at again, probeWithin bounds such a look, and pressureEvery is how often
	// the memory of a queue that works is looked at.
	probeEvery    = 250 * time.Millisecond
	probeWithin   = 500 * time.Millisecond
	pressureEvery = 2 * time.Second
	// highWater is the share of Redis's memory from which batches go to the spool: the rest is for the tasks that
	// workers hold and for asynq's own keys. lowWater is where they go back to the queue.
	highWater = 0.90
	lowWater  = 0.85
)

var errNothingDurable = errors.New("neither the queue nor the spool takes updates")

// fallback writes to the queue, and to the spool while the queue is left out. Each store that fails is left out until watch has
// found that it takes writes again, so that only the flush that meets an outage first waits for it.
type fallback struct {
	queue   Queue
	spool   Spool
	log     *slog.Logger
	beat    *obs.Beat
	metrics *metrics

	// Opened by flushes and by watch, closed by watch, and the queue's also by a flush that it took after all.
	queueOut, spoolOut breaker
	// failing wakes watch early: a store was left out. It holds one token at most.
	failing chan struct{}
}

func newFallback(cfg Config) *fallback {
	f := &fallback{
		queue: cfg.Queue, spool: cfg.Spool, log: cfg.Log, beat: cfg.Beat, metrics: newMetrics(cfg.Registerer),
		failing: make(chan struct{}, 1),
	}
	f.metrics.watch(&f.queueOut)
	return f
}

// write makes envelopes durable within flushWithin; while both stores are known to be away it refuses at once, so that a queue of
// callers is not kept waiting for one time-out after another.
func (f *fallback) write(ctx context.Context, envelopes []ingest.Envelope) error {
	giveUp := time.Now().Add(flushWithin)
	ctx, cancel := context.WithDeadline(ctx, giveUp)
	defer cancel()
	within, out := queueWithin, f.queueOut.why()
	if f.spoolOut.why() != "" {
		within = flushWithin
	}
	if out == "" && f.put(ctx, envelopes, within) || f.putAside(ctx, envelopes) {
		return nil
	}
	// What nobody else takes goes to a queue that runs full or is only slow: it has what is left of the time.
	if out != failed && time.Now().Before(giveUp) && f.put(ctx, envelopes, flushWithin) {
		if f.queueOut.why() == failed {
			f.useQueue()
		}
		return nil
	}
	f.metrics.refused(len(envelopes))
	return fault.As(fault.Transient, errNothingDurable)
}

// put reports whether the queue took envelopes in time.
func (f *fallback) put(ctx context.Context, envelopes []ingest.Envelope, within time.Duration) bool {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	start := time.Now()
	err := f.queue.Put(ctx, batch.Batch{Envelopes: envelopes})
	f.metrics.flushed(toQueue, len(envelopes), time.Since(start), err)
	if err != nil {
		f.leaveQueueOut(failed, err)
		return false
	}
	f.metrics.accepted(toQueue, len(envelopes))
	return true
}

// putAside reports whether the spool took envelopes.
func (f *fallback) putAside(ctx context.Context, envelopes []ingest.Envelope) bool {
	if f.spoolOut.why() != "" {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, spoolWithin)
	defer cancel()
	start := time.Now()
	_, err := f.spool.Put(ctx, spooled(envelopes, time.Time{}))
	f.metrics.flushed(toSpool, len(envelopes), time.Since(start), err)
	if err != nil {
		f.leaveSpoolOut(err)
		return false
	}
	f.metrics.accepted(toSpool, len(envelopes))
	return true
}

// watch looks at the stores until ctx ends: it lets those back in that work again, and leaves a queue out whose memory runs full.
func (f *fallback) watch(ctx context.Context) {
	next := time.NewTimer(0)
	defer next.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-next.C:
			f.beat.Tick()
			f.look(ctx)
		case <-f.failing:
		}
		if f.queueOut.why() == "" && f.spoolOut.why() == "" {
			next.Reset(pressureEvery)
		} else {
			next.Reset(probeEvery)
		}
	}
}

// look looks at both stores at once, so that one that hangs does not hide that the other one works again.
func (f *fallback) look(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, probeWithin)
	defer cancel()
	var both sync.WaitGroup
	both.Go(func() { f.lookAtQueue(ctx) })
	both.Go(func() { f.lookAtSpool(ctx) })
	both.Wait()
}

func (f *fallback) lookAtQueue(ctx context.Context) {
	out := f.queueOut.why()
	if out != "" {
		if err := f.queue.Probe(ctx); err != nil {
			return
		}
	}
	used, err := f.queue.MemoryUsed(ctx)
	if err != nil && out == "" {
		f.log.Debug("memory of the queue unknown", "error", err)
		return
	}
	switch {
	case err == nil && used >= highWater, err == nil && used >= lowWater && out != "":
		f.leaveQueueOut(full, nil)
	// A store that serves lets the queue have its rest; with none left, what works is used.
	case out != "" && (f.queueOut.rested() || f.spoolOut.why() != ""):
		f.useQueue()
	}
}

func (f *fallback) leaveQueueOut(why reason, err error) {
	if !f.queueOut.leaveOut(why) {
		return
	}
	f.log.Warn("queue left out, updates go to the spool", "reason", string(why), "error", err)
	f.wakeWatch()
}

func (f *fallback) useQueue() {
	f.queueOut.letIn()
	f.log.Info("queue used again")
}

func (f *fallback) lookAtSpool(ctx context.Context) {
	if f.spoolOut.why() == "" || f.spool.Probe(ctx) != nil {
		return
	}
	f.spoolOut.letIn()
	f.log.Info("spool used again")
}

func (f *fallback) leaveSpoolOut(err error) {
	if !f.spoolOut.leaveOut(failed) {
		return
	}
	f.log.Error("spool takes no updates", "error", err)
	f.wakeWatch()
}

func (f *fallback) wakeWatch() {
	select {
	case f.failing <- struct{}{}:
	default:
	}
}
