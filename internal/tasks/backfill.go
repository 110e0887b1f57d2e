package tasks

import (
	"context"
	"time"

	"github.com/tgfleet/tgfleet/internal/accept/batch"
	"github.com/tgfleet/tgfleet/internal/ingest"
	"github.com/tgfleet/tgfleet/internal/queue"
)

// BackfillClass is the class of queues that pages of history travel through. It has queues, hands and transactions of its own, so that
// no amount of history holds up what is live.
const BackfillClass queue.Class = "backfill"

// backfillRoute is how pages of history travel.
var backfillRoute = queue.Route[packed]{
	Task:   "backfill",
	Class:  BackfillClass,
	Encode: ingestRoute.Encode,
	Decode: ingestRoute.Decode,
	Since:  ingestRoute.Since,
}

// BackfillQueue is the accepting end of the backfill queues.
type BackfillQueue struct {
	*queue.Client
}

// Put puts a page into one of the backfill queues and returns once it is durable there.
func (q BackfillQueue) Put(ctx context.Context, page []ingest.Envelope) error {
	return queue.Put(ctx, q.Client, backfillRoute, packed{payload: batch.Encode(batch.Batch{Envelopes: page}), oldest: time.Now()})
}

// Waiting returns how many pages wait for workers.
func (q BackfillQueue) Waiting(ctx context.Context) (int, error) {
	depth, err := q.Depth(ctx, BackfillClass)
	return depth.Pending + depth.Active + depth.Retry, err
}

// HandleBackfill returns the handler of the backfill queues: it has each page settled.
func HandleBackfill(s *Settler) queue.Handler {
	return queue.Handle(backfillRoute, func(ctx context.Context, d *queue.Delivery[packed]) error {
		return s.settle(ctx, work{
			from: fromBackfill, payload: d.Raw, crashes: d.Crashes, traces: d, countFailure: d.CountFailure,
		})
	})
}
