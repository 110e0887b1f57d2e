// Package handover brings envelopes from a source that keeps them into a sink, and offers those that the sink refuses again until it takes
// them. When Bring returns nil the source may forget the envelopes, and not before.
package handover

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/tgfleet/tgfleet/internal/ingest"
	"github.com/tgfleet/tgfleet/internal/pause"
)

const (
	// acceptWithin is longer than a flush into the queue and then the spool.
	acceptWithin = 15 * time.Second
	// An envelope that the sink refused is offered again after refusedRetry, then after twice that, up to refusedRetryMost.
	refusedRetry     = 250 * time.Millisecond
	refusedRetryMost = 10 * time.Second
)

// Bring returns nil once sink has taken every envelope. It offers all of them at once, so that they share group commits; it gives up
// only with ctx, whose error it then returns, and some of the envelopes may have been taken.
func Bring(ctx context.Context, sink ingest.Sink, envelopes []ingest.Envelope, log *slog.Logger) error {
	again := pause.Backoff{Least: refusedRetry, Most: refusedRetryMost}
	waiting := envelopes
	for {
		refused, err := offer(ctx, sink, waiting)
		if len(refused) == 0 {
			return ctx.Err()
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		log.Warn("updates not taken, they stay with Telegram and are offered again", "updates", len(refused), "error", err)
		waiting = refused
		pause.For(ctx, again.Next())
	}
}

// offer offers envelopes to sink and returns those that it refused, and the last reason.
func offer(ctx context.Context, sink ingest.Sink, envelopes []ingest.Envelope) (refused []ingest.Envelope, reason error) {
	ctx, cancel := context.WithTimeout(ctx, acceptWithin)
	defer cancel()
	if len(envelopes) == 1 {
		if err := sink.Accept(ctx, envelopes[0]); err != nil {
			return envelopes, err
		}
		return nil, nil
	}
	errs := make([]error, len(envelopes))
	var offering sync.WaitGroup
	for i, envelope := range envelopes {
		offering.Go(func() { errs[i] = sink.Accept(ctx, envelope) })
	}
	offering.Wait()
	for i, err := range errs {
		if err != nil {
			refused = append(refused, envelopes[i])
			reason = err
		}
	}
	return refused, reason
}
