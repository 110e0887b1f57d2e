// Package tasks holds the work of the workers, one file a task: what travels through the queue, by which route, and what is done
// with it. A handler returns nil only after its work is committed or has become a dead letter; whatever it returns
// otherwise comes back. Handlers repeat harmlessly and expect no order.
package tasks

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tgfleet/tgfleet/internal/accept/batch"
	"github.com/tgfleet/tgfleet/internal/fault"
	"github.com/tgfleet/tgfleet/internal/ingest"
	"github.com/tgfleet/tgfleet/internal/queue"
)

// IngestClass is the class of queues that updates travel through.
const IngestClass queue.Class = "ingest"

// packed is a batch as it travels. It is opened by whoever settles it, and not on the way, because opening it may be what ends a
// worker.
type packed struct {
	payload []byte
	// oldest is when the first of its updates was received; it is known where the batch is packed only.
	oldest time.Time
}

// ingestRoute is how batches of updates travel.
var ingestRoute = queue.Route[packed]{
	Task:   "ingest",
	Class:  IngestClass,
	Encode: func(p packed) ([]byte, error) { return p.payload, nil },
	Decode: func(raw []byte) (packed, error) { return packed{payload: raw}, nil },
	Since:  func(p packed) time.Time { return p.oldest },
}

// unknownSource stands for a batch that can't be opened: no bot has the id 0.
var unknownSource = ingest.Source{Transport: ingest.BotAPI}

// IngestQueue is the accepting end of the ingest queues.
type IngestQueue struct {
	*queue.Client
}

// Put puts b into one of the ingest queues and returns once it is durable there.
func (q IngestQueue) Put(ctx context.Context, b batch.Batch) error {
	oldest := time.Now()
	for i := range b.Envelopes {
		if b.Envelopes[i].ReceivedAt.Before(oldest) {
			oldest = b.Envelopes[i].ReceivedAt
		}
	}
	return queue.Put(ctx, q.Client, ingestRoute, packed{payload: batch.Encode(b), oldest: oldest})
}

// HandleIngest returns the handler of the ingest queues: it has each batch settled.
func HandleIngest(s *Settler) queue.Handler {
	return queue.Handle(ingestRoute, func(ctx context.Context, d *queue.Delivery[packed]) error {
		return s.settle(ctx, work{
			from: fromQueue, payload: d.Raw, crashes: d.Crashes, traces: d, countFailure: d.CountFailure,
		})
	})
}

// errForeignMessage is the reason why the bytes of a message are a dead letter.
var errForeignMessage = errors.New("message in a queue that is not the task that it stands for")

// BuryMessage makes a dead letter of a message that was found in an ingest queue and that is no task of ours. It returns nil once the
// dead letter is committed; repeating it changes nothing.
func (s *Settler) BuryMessage(ctx context.Context, message []byte) error {
	w := work{from: fromQueue, payload: message}
	start := time.Now()
	done, err := s.bury(ctx, &w, undecodable(message, errForeignMessage))
	return s.finish(ctx, w, done, start, err)
}

// undecodable returns the dead letter of a payload that can't be opened.
func undecodable(payload []byte, err error) ingest.DeadLetter {
	return ingest.DeadLetter{Envelope: packedEnvelope(payload), Class: classUndecodable, Error: err.Error()}
}

// packedEnvelope returns an envelope around a payload that nobody has opened: it is not known how many updates it holds, or whose
// they are.
func packedEnvelope(payload []byte) ingest.Envelope {
	return ingest.Envelope{Source: unknownSource, Origin: ingest.Replay, Format: ingest.QueuedBatch, Raw: payload}
}

// retry returns err in the form that makes the queue try again after the pause that an outage calls for.
func (s *Settler) retry(err error) error {
	if errors.Is(err, context.Canceled) {
		return fmt.Errorf("settle: %w", err)
	}
	return fault.Throttle(s.outage.pause(), fmt.Errorf("settle: %w", err))
}
