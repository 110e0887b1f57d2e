// Package tasks holds the work of the workers, one file a task: what travels through the queue, by which route, and what is done
// with it. A handler returns nil only after its work is committed or has become a dead letter; whatever it returns
// otherwise comes back. Handlers repeat harmlessly and expect no order.
package tasks

import (
	"context"
	"errors"
	"fmt"

	"github.com/tgfleet/tgfleet/internal/accept/batch"
	"github.com/tgfleet/tgfleet/internal/fault"
	"github.com/tgfleet/tgfleet/internal/ingest"
	"github.com/tgfleet/tgfleet/internal/queue"
)

// IngestClass is the class of queues that updates travel through.
const IngestClass queue.Class = "ingest"

// ingestRoute is how batches of updates travel.
var ingestRoute = queue.Route[batch.Batch]{
	Task:   "ingest",
	Class:  IngestClass,
	Encode: func(b batch.Batch) ([]byte, error) { return batch.Encode(b), nil },
	Decode: batch.Decode,
}

// unknownSource stands for a batch that can't be opened: no bot has the id 0.
var unknownSource = ingest.Source{Transport: ingest.BotAPI}

// IngestQueue is the accepting end of the ingest queues.
type IngestQueue struct {
	*queue.Client
}

// Put puts b into one of the ingest queues and returns once it is durable there.
func (q IngestQueue) Put(ctx context.Context, b batch.Batch) error {
	return queue.Put(ctx, q.Client, ingestRoute, b)
}

// HandleIngest returns the handler of the ingest queues: it has each batch settled.
func HandleIngest(s *Settler) queue.Handler {
	return queue.Handle(ingestRoute, func(ctx context.Context, d *queue.Delivery[batch.Batch]) error {
		w := work{
			from:         fromQueue,
			envelopes:    d.Payload.Envelopes,
			countFailure: d.CountFailure,
		}
		if d.Payload.SpoolID != 0 {
			w.spoolIDs = []int64{d.Payload.SpoolID}
		}
		if d.DecodeErr != nil {
			return s.bury(ctx, w, undecodable(d.Raw, d.DecodeErr))
		}
		return s.settle(ctx, w)
	})
}

// undecodable returns the dead letter of a payload that can't be opened: nobody knows how many updates it holds or whose they are.
func undecodable(payload []byte, err error) ingest.DeadLetter {
	return ingest.DeadLetter{
		Envelope: ingest.Envelope{Source: unknownSource, Origin: ingest.Replay, Format: ingest.QueuedBatch, Raw: payload},
		Class:    classUndecodable,
		Error:    err.Error(),
	}
}

// retry returns err in the form that makes the queue try again after the pause that an outage calls for.
func (s *Settler) retry(err error) error {
	if errors.Is(err, context.Canceled) {
		return fmt.Errorf("settle: %w", err)
	}
	return fault.Throttle(s.outage.pause(), fmt.Errorf("settle: %w", err))
}
