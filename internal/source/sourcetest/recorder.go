package sourcetest

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/tgfleet/tgfleet/internal/fault"
	"github.com/tgfleet/tgfleet/internal/ingest"
)

// recorder is a sink that writes down what it is offered and does with it what the test says.
type recorder struct {
	mu sync.Mutex
	// offered counts the calls for each update; the first refusals of them are refused.
	offered  map[ingest.Hash]int
	refusals int
	// held updates get no answer until their channel is closed.
	held  map[ingest.Hash]chan struct{}
	calls int
	took  []receipt
}

// receipt is one envelope that was taken.
type receipt struct {
	env       ingest.Envelope
	offeredAt time.Time
	// hash is that of the raw bytes as they were when the envelope was taken.
	hash ingest.Hash
}

func newRecorder() *recorder {
	return &recorder{offered: map[ingest.Hash]int{}, held: map[ingest.Hash]chan struct{}{}}
}

var errRefused = fault.As(fault.Transient, errors.New("the sink takes nothing now"))

// Accept is that of ingest.Sink.
func (r *recorder) Accept(ctx context.Context, env ingest.Envelope) error {
	offeredAt, hash := time.Now(), ingest.HashOf(env.Raw)
	refused, held := r.offer(hash)
	defer r.leave()
	if held != nil {
		select {
		case <-held:
		case <-ctx.Done():
			return fault.As(fault.Transient, ctx.Err())
		}
	}
	if refused {
		return errRefused
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.took = append(r.took, receipt{env: env, offeredAt: offeredAt, hash: hash})
	return nil
}

func (r *recorder) offer(hash ingest.Hash) (refused bool, held <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.calls++
	r.offered[hash]++
	return r.offered[hash] <= r.refusals, r.held[hash]
}

func (r *recorder) leave() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.calls--
}

// refuse makes the sink refuse every update the first times that it is offered.
func (r *recorder) refuse(times int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.refusals = times
}

// hold makes the sink leave raw without an answer until release is called.
func (r *recorder) hold(raw []byte) (release func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	released := make(chan struct{})
	r.held[ingest.HashOf(raw)] = released
	return func() { close(released) }
}

func (r *recorder) wasOffered(raw []byte) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.offered[ingest.HashOf(raw)] > 0
}

func (r *recorder) running() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.calls
}

func (r *recorder) taken() map[ingest.Hash]bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	taken := make(map[ingest.Hash]bool, len(r.took))
	for _, one := range r.took {
		taken[one.hash] = true
	}
	return taken
}

func (r *recorder) receipts() []receipt {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]receipt(nil), r.took...)
}
