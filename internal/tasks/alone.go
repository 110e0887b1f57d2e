package tasks

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tgfleet/tgfleet/internal/content"
	"github.com/tgfleet/tgfleet/internal/groupcommit"
	"github.com/tgfleet/tgfleet/internal/ingest"
	"github.com/tgfleet/tgfleet/internal/normalise"
)

// An update can end the process that normalises it, beyond what any recover catches: a stack that overflows, memory that runs out. It
// would end one worker after another. Its batch, and whatever else the dying worker had in hand, comes back with a crash more, and
// from the second crash on a batch is suspect: its updates are run one at a time, each marked durably before and unmarked after.
// A mark that outlives its worker blames the update that was running.
//
// Who is blamed must have done it. While a marked update runs, nothing else is settled in the process: else the innocent suspects
// that a killer takes along would each be marked at the same update in each crash. And the archive is probed before anything is marked, so
// that no mark stands for as long as a database is away, for an operator's kill to hit.
const (
	// suspectFrom is the crash from which a batch is suspect. The first crash is as a rule somebody's kill or a lost machine.
	suspectFrom = 2
	// fatalCrashes is how often an update must have been the marked one in a crash to die, without being tried once more. One crash
	// can be an operator's kill, or a machine that went down, at the very moment, and the same again can be bad luck; a mark stands for
	// milliseconds, so the third time at the same update it is none. An innocent would not be lost even then: it is a dead letter.
	fatalCrashes = 3
	// wholeBatch stands for the opening of a batch, where the updates are numbered from 0.
	wholeBatch = -1
	// traceWithin bounds one write of a mark. aloneWithin is longer than all that is done under one mark.
	traceWithin = 5 * time.Second
	aloneWithin = 2*commitWithin + countWithin + probeWithin + 2*traceWithin
)

// traces are kept durably beside a batch, for the next worker to find.
type traces interface {
	// Blamed returns the parts that were marked when a worker died, once for each such crash. It is asked before the first Mark.
	Blamed(ctx context.Context) ([]int, error)
	// Mark notes that a part is about to be run. After an error it must not be run.
	Mark(ctx context.Context, part int) error
	// Unmark notes that nothing is run any more.
	Unmark(ctx context.Context) error
}

// everyone is the weight of who must be alone in the process; everybody else weighs 1.
const everyone = 1 << 30

// settleAlone settles a suspect batch one update at a time. Updates that it commits before an error or a crash are committed again
// later, harmlessly.
func (s *Settler) settleAlone(ctx context.Context, w *work) (finished, error) {
	done := finished{result: resultAlone}
	blamed, err := s.inquire(ctx, w)
	if err != nil {
		return done, err
	}
	if blamed[wholeBatch] >= fatalCrashes {
		return s.bury(ctx, w, crashed(packedEnvelope(w.payload)))
	}
	var openErr error
	if err := s.alone(ctx, w, wholeBatch, func() error {
		openErr = s.openBatch(w)
		return nil
	}); err != nil {
		return done, err
	}
	if openErr != nil {
		return s.bury(ctx, w, undecodable(w.payload, openErr))
	}
	one := surgery{s: s, w: *w}
	for i, env := range w.envelopes {
		dead, err := s.settleOne(ctx, &one, i, env, blamed[i])
		done.dead += dead
		if err != nil {
			return done, fmt.Errorf("update %d of the batch: %w", i, err)
		}
	}
	return done, one.settle(ctx, content.Batch{SpoolIDs: w.spoolIDs})
}

// inquire returns how often each part of w was running when a worker died.
func (s *Settler) inquire(ctx context.Context, w *work) (map[int]int, error) {
	ctx, cancel := context.WithTimeout(ctx, traceWithin)
	defer cancel()
	parts, err := w.traces.Blamed(ctx)
	if err != nil {
		return nil, err
	}
	blamed := make(map[int]int, len(parts))
	for _, part := range parts {
		blamed[part]++
	}
	return blamed, s.probe(ctx)
}

// settleOne settles the update i of a suspect batch, or makes a dead letter of it when it has ended too many workers, and returns how
// many updates died of it.
func (s *Settler) settleOne(ctx context.Context, one *surgery, i int, env ingest.Envelope, blamed int) (dead int, err error) {
	if blamed >= fatalCrashes {
		return 1, s.commit(ctx, content.Batch{DeadLetters: []ingest.DeadLetter{crashed(env)}})
	}
	before := one.dead
	err = s.alone(ctx, &one.w, i, func() error {
		var b content.Batch
		if err := groupcommit.Guard(func() error { s.normaliseInto(&b, env); return nil }); err != nil {
			b = content.Batch{DeadLetters: []ingest.DeadLetter{rejected(env, &normalise.Rejected{Class: normalise.Panic, Reason: err.Error()})}}
		}
		dead = len(b.DeadLetters)
		return one.settle(ctx, b)
	})
	return dead + one.dead - before, err
}

// alone runs one part of w under its mark, while nothing else is settled in this process. run must not panic.
func (s *Settler) alone(ctx context.Context, w *work, part int, run func() error) error {
	if err := s.room.Acquire(ctx, everyone); err != nil {
		return fmt.Errorf("wait to be alone: %w", err)
	}
	defer s.room.Release(everyone)
	marking, cancel := context.WithTimeout(ctx, traceWithin)
	defer cancel()
	if err := w.traces.Mark(marking, part); err != nil {
		return err
	}
	err := run()
	// Whatever came of it, this worker lives.
	unmarking, cancelUnmarking := context.WithTimeout(context.WithoutCancel(ctx), traceWithin)
	defer cancelUnmarking()
	return errors.Join(err, w.traces.Unmark(unmarking))
}

// crashed returns the dead letter of an update, or of a batch, that nobody dares to try again. Nobody has read it, so nobody knows its
// update_id.
func crashed(env ingest.Envelope) ingest.DeadLetter {
	return ingest.DeadLetter{
		Envelope: env, Class: classCrashed, NormaliserVersion: normalise.Version, DiedAt: time.Now(),
		Error: fmt.Sprintf("workers died %d times while they ran it", fatalCrashes),
	}
}
