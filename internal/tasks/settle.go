package tasks

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tgfleet/tgfleet/internal/content"
	"github.com/tgfleet/tgfleet/internal/fault"
	"github.com/tgfleet/tgfleet/internal/groupcommit"
	"github.com/tgfleet/tgfleet/internal/ingest"
	"github.com/tgfleet/tgfleet/internal/normalise"
)

const (
	// maxCommitUpdates is how many updates share a transaction, and commitFlights how many transactions a worker has under way:
	// more of either is no faster with PostgreSQL.
	maxCommitUpdates = 500
	commitFlights    = 2
	// maxWaitingBatches bounds the batches that wait for a transaction; the queue's concurrency keeps far below it.
	maxWaitingBatches = 4096
	// commitWithin bounds one transaction.
	commitWithin = 30 * time.Second
	// fatalAttempts is how often an update fails for a reason that nobody classified before it dies.
	fatalAttempts = 3
)

// The classes of dead letters beside those of package normalise.
const (
	classUndecodable = "undecodable_batch"
	classRefused     = "refused_by_database"
	classRepeated    = "failed_repeatedly"
)

// result is what became of a batch; it is the value of a label and of a log key.
type result string

const (
	resultCommitted result = "committed"
	// resultCut batches are settled too, some of their updates as dead letters.
	resultCut    result = "cut"
	resultBuried result = "buried"
	// resultRetried batches come back.
	resultRetried result = "retried"
)

// Archive is where settled updates go.
type Archive interface {
	// Apply writes b in one transaction; repeating it changes nothing.
	Apply(ctx context.Context, b content.Batch) (content.Outcome, error)
	// Probe succeeds when a write would.
	Probe(ctx context.Context) error
}

// Normaliser turns an envelope into what it says. Every error is permanent.
type Normaliser interface {
	Normalise(env ingest.Envelope) (content.ChangeSet, error)
}

// SettlerConfig is what a Settler is made of. Every field must be set.
type SettlerConfig struct {
	Archive    Archive
	Normaliser Normaliser
	Log        *slog.Logger
	Registerer prometheus.Registerer
}

// Settler brings batches of updates to their end: into the archive, or, what can never get there, into the dead letters. Batches
// that are settled at the same time share transactions. A batch that fails for its content is cut in halves until the update to blame stands
// alone; only that one dies. Run must run for batches to be settled.
type Settler struct {
	archive    Archive
	normaliser Normaliser
	log        *slog.Logger
	metrics    *settleMetrics
	commits    *groupcommit.Group[content.Batch]
	outage     outage
}

// NewSettler returns a settler.
func NewSettler(cfg SettlerConfig) *Settler {
	s := &Settler{
		archive: cfg.Archive, normaliser: cfg.Normaliser, log: cfg.Log,
		metrics: newSettleMetrics(cfg.Registerer),
	}
	s.commits = groupcommit.New(groupcommit.Config[content.Batch]{
		Write:     s.commitTogether,
		MaxItems:  maxCommitUpdates,
		Weight:    func(b content.Batch) int { return len(b.Changes) + len(b.DeadLetters) },
		MaxWeight: maxCommitUpdates,
		Flights:   commitFlights,
		Backlog:   maxWaitingBatches,
	})
	return s
}

// Run commits until ctx ends, and then what still waits.
func (s *Settler) Run(ctx context.Context) error { return s.commits.Run(ctx) }

// from is the origin of a batch; it is the value of a label and of a log key.
type from string

const (
	fromQueue from = "queue"
	fromSpool from = "spool"
)

// work is one batch to be settled, whichever way it came.
type work struct {
	from      from
	envelopes []ingest.Envelope
	// spoolIDs names the rows of the spool that hold the same envelopes.
	spoolIDs []int64
	// countFailure counts one more failure of this batch, durably, and returns how many there were.
	countFailure func(ctx context.Context) (int, error)
}

// settle returns nil once every update of w is committed or dead, and otherwise an error that makes w come back.
func (s *Settler) settle(ctx context.Context, w work) error {
	start := time.Now()
	b := s.normalise(w)
	err := s.commits.Do(ctx, b)
	result := resultCommitted
	if cut, cutErr := s.mustCut(ctx, w, err); cutErr != nil {
		result, err = resultRetried, s.retry(cutErr)
	} else if cut {
		result = resultCut
		if err = s.settleAlone(ctx, b); err != nil {
			result, err = resultRetried, s.retry(err)
		}
	}
	s.finish(ctx, w, finished{result: result, dead: len(b.DeadLetters), took: time.Since(start), err: err})
	return err
}

// mustCut says what to do about the error of a shared commit: cut is true when the batch has to be settled alone, because
// it may hold what the database will never take. A returned error means: try again later.
func (s *Settler) mustCut(ctx context.Context, w work, err error) (cut bool, again error) {
	if err == nil {
		return false, nil
	}
	if ctx.Err() != nil { // the worker stops: nothing is known about the batch
		return false, err
	}
	switch fault.ClassOf(err) {
	case fault.Permanent:
		return true, nil
	case fault.Transient, fault.Throttled:
		return false, err
	default:
		failures, countErr := w.countFailure(ctx)
		if countErr != nil {
			return false, errors.Join(err, countErr)
		}
		if failures < fatalAttempts {
			return false, err
		}
		return true, nil
	}
}

// normalise turns each envelope of w into changes or into a dead letter.
func (s *Settler) normalise(w work) content.Batch {
	b := content.Batch{Changes: make([]content.ChangeSet, 0, len(w.envelopes)), SpoolIDs: w.spoolIDs}
	for i := range w.envelopes {
		cs, err := s.normaliser.Normalise(w.envelopes[i])
		if err != nil {
			b.DeadLetters = append(b.DeadLetters, rejected(w.envelopes[i], err))
			continue
		}
		b.Changes = append(b.Changes, cs)
	}
	return b
}

// rejected returns the dead letter of an update that can't be normalised.
func rejected(env ingest.Envelope, err error) ingest.DeadLetter {
	letter := ingest.DeadLetter{
		Envelope: env, Class: normalise.Malformed, Error: err.Error(),
		NormaliserVersion: normalise.Version, DiedAt: time.Now(),
	}
	var r *normalise.Rejected
	if errors.As(err, &r) {
		letter.Class, letter.UpdateID = r.Class, r.UpdateID
	}
	return letter
}

// commitTogether writes the batches of several callers in one transaction.
func (s *Settler) commitTogether(ctx context.Context, batches []content.Batch) error {
	var all content.Batch
	for _, b := range batches {
		all.Changes = append(all.Changes, b.Changes...)
		all.DeadLetters = append(all.DeadLetters, b.DeadLetters...)
		all.SpoolIDs = append(all.SpoolIDs, b.SpoolIDs...)
	}
	return s.commit(ctx, all)
}

// commit writes b in one transaction and counts what came of it.
func (s *Settler) commit(ctx context.Context, b content.Batch) error {
	ctx, cancel := context.WithTimeout(ctx, commitWithin)
	defer cancel()
	start := time.Now()
	var outcome content.Outcome
	err := groupcommit.Guard(func() (err error) {
		outcome, err = s.archive.Apply(ctx, b)
		return err
	})
	s.metrics.committed(b, outcome, time.Since(start), err)
	s.outage.note(err)
	if err != nil {
		return fmt.Errorf("commit %d updates: %w", len(b.Changes), err)
	}
	return nil
}

// settleAlone settles b apart from all others. Its spool rows go with the last write, so that a worker that dies half-way leaves
// them for the next one.
func (s *Settler) settleAlone(ctx context.Context, b content.Batch) error {
	if err := s.cut(ctx, b.Changes); err != nil {
		return err
	}
	return s.commit(ctx, content.Batch{DeadLetters: b.DeadLetters, SpoolIDs: b.SpoolIDs})
}

// cut commits changes, in halves where the whole does not go; a single update that does not go dies. It returns an error when
// the database is to blame and not the update: what was committed by then is committed again later, harmlessly.
func (s *Settler) cut(ctx context.Context, changes []content.ChangeSet) error {
	if len(changes) == 0 {
		return nil
	}
	err := s.commit(ctx, content.Batch{Changes: changes})
	if err == nil {
		return nil
	}
	class := fault.ClassOf(err)
	if class == fault.Transient || class == fault.Throttled || ctx.Err() != nil {
		return err
	}
	if len(changes) > 1 {
		half := len(changes) / 2
		if err := s.cut(ctx, changes[:half]); err != nil {
			return err
		}
		return s.cut(ctx, changes[half:])
	}
	return s.condemn(ctx, changes[0], err)
}

// condemn makes a dead letter of an update that the database does not take, once it is sure that the database takes anything.
func (s *Settler) condemn(ctx context.Context, cs content.ChangeSet, cause error) error {
	letter := ingest.DeadLetter{
		Envelope: cs.Update.Envelope, UpdateID: cs.Update.UpdateID, Class: classRefused, Error: cause.Error(),
		NormaliserVersion: cs.Update.NormaliserVersion, DiedAt: time.Now(),
	}
	if fault.ClassOf(cause) != fault.Permanent {
		letter.Class = classRepeated
		if err := s.archive.Probe(ctx); err != nil {
			return fmt.Errorf("probe the archive: %w", fault.As(fault.Transient, err))
		}
	}
	return s.commit(ctx, content.Batch{DeadLetters: []ingest.DeadLetter{letter}})
}

// bury commits letter in place of w's updates, which nobody can read.
func (s *Settler) bury(ctx context.Context, w work, letter ingest.DeadLetter) error {
	start := time.Now()
	letter.DiedAt, letter.Envelope.ReceivedAt = start, start
	err := s.commit(ctx, content.Batch{DeadLetters: []ingest.DeadLetter{letter}, SpoolIDs: w.spoolIDs})
	result := resultBuried
	if err != nil {
		result, err = resultRetried, s.retry(err)
	}
	s.finish(ctx, w, finished{result: result, dead: 1, took: time.Since(start), err: err})
	return err
}

// finished is how the work on a batch ended.
type finished struct {
	result result
	dead   int
	took   time.Duration
	err    error
}

// finish counts a batch and writes its one wide line.
func (s *Settler) finish(ctx context.Context, w work, f finished) {
	s.metrics.finished(w, f.result)
	level := slog.LevelInfo
	attrs := []slog.Attr{
		slog.String("from", string(w.from)),
		slog.String("result", string(f.result)),
		slog.Int("updates", len(w.envelopes)),
		slog.Int("dead", f.dead),
		slog.Duration("duration", f.took),
	}
	if len(w.envelopes) > 0 {
		attrs = append(attrs,
			slog.String("source", w.envelopes[0].Source.String()),
			slog.Duration("age", time.Since(w.envelopes[0].ReceivedAt)))
	}
	if f.err != nil {
		level = slog.LevelWarn
		attrs = append(attrs, slog.String("class", fault.ClassOf(errors.Unwrap(f.err)).String()), slog.Any("error", f.err))
		var panicked *groupcommit.PanicError
		if errors.As(f.err, &panicked) {
			attrs = append(attrs, slog.String("stack", string(panicked.Stack)))
		}
	}
	s.log.LogAttrs(ctx, level, "batch settled", attrs...)
}
