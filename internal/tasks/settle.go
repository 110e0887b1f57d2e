package tasks

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"

	"github.com/tgfleet/tgfleet/internal/accept/batch"
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
	// historyFlights is how many transactions with history a worker has under way beside those.
	historyFlights = 1
	// maxWaitingBatches and maxWaitingUpdates bound what waits for a transaction; the queue's concurrency, of batches of 64
	// updates at most, keeps far below them.
	maxWaitingBatches = 4096
	maxWaitingUpdates = 64 * maxWaitingBatches
	// commitWithin bounds one transaction.
	commitWithin = 30 * time.Second
)

// The classes of dead letters beside those of package normalise.
const (
	classUndecodable = "undecodable_batch"
	classRefused     = "refused_by_database"
	classRepeated    = "failed_repeatedly"
	classCrashed     = "crashed_worker"
)

// DeadLetterClasses are all classes that this program gives to dead letters: the normaliser's, and those of updates that it does not
// get to see, that the database does not take, or that kill workers. Nobody may change it.
var DeadLetterClasses = slices.Concat(normalise.Classes, []string{classUndecodable, classRefused, classRepeated, classCrashed})

// result is what became of a batch; it is the value of a label and of a log key.
type result string

const (
	resultCommitted result = "committed"
	// resultCut batches are settled too, some of their updates as dead letters.
	resultCut    result = "cut"
	resultBuried result = "buried"
	// resultAlone batches were settled one update at a time, because workers had died over them.
	resultAlone result = "alone"
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
	// live commits what is live, and history what is read of the past, so that the one does not wait for the other.
	live    *groupcommit.Group[content.Batch]
	history *groupcommit.Group[content.Batch]
	// room lets one who must be alone in by himself, and all others together.
	room   *semaphore.Weighted
	outage outage
	// open opens a payload.
	open func(payload []byte) (batch.Batch, error)
}

// NewSettler returns a settler.
func NewSettler(cfg SettlerConfig) *Settler {
	s := &Settler{
		archive: cfg.Archive, normaliser: cfg.Normaliser, log: cfg.Log,
		metrics: newSettleMetrics(cfg.Registerer), room: semaphore.NewWeighted(everyone), open: batch.Decode,
	}
	s.live, s.history = s.commits(commitFlights), s.commits(historyFlights)
	return s
}

// commits returns a group of that many transactions at once.
func (s *Settler) commits(flights int) *groupcommit.Group[content.Batch] {
	return groupcommit.New(groupcommit.Config[content.Batch]{
		Write:         s.commitTogether,
		MaxItems:      maxCommitUpdates,
		Weight:        func(b content.Batch) int { return len(b.Changes) + len(b.DeadLetters) },
		MaxWeight:     maxCommitUpdates,
		Flights:       flights,
		Backlog:       maxWaitingBatches,
		BacklogWeight: maxWaitingUpdates,
	})
}

// Run commits until ctx ends, and then what still waits.
func (s *Settler) Run(ctx context.Context) error {
	var group errgroup.Group
	group.Go(func() error { return s.live.Run(ctx) })
	group.Go(func() error { return s.history.Run(ctx) })
	return group.Wait()
}

// from is the way by which a batch came; it is the value of a label and of a log key.
type from string

const (
	fromQueue    from = "queue"
	fromSpool    from = "spool"
	fromBackfill from = "backfill"
)

// work is one batch to be settled, whichever way it came.
type work struct {
	from    from
	payload []byte
	// crashes counts the workers that died with this batch in hand, and traces are what they left.
	crashes int
	traces  traces
	// envelopes are what payload holds, once it has been opened.
	envelopes []ingest.Envelope
	// spoolIDs names the rows of the spool that hold the same envelopes.
	spoolIDs []int64
	// countFailure counts one more failure of this batch, durably, and returns how many there were.
	countFailure func(ctx context.Context) (int, error)
}

// settle returns nil once every update of w is committed or dead, and otherwise an error that makes w come back.
func (s *Settler) settle(ctx context.Context, w work) error {
	start := time.Now()
	way := s.settleTogether
	if w.crashes >= suspectFrom {
		way = s.settleAlone
	}
	done, err := way(ctx, &w)
	return s.finish(ctx, w, done, start, err)
}

// settleTogether settles a batch in a transaction that it shares with others, and by itself only if that fails.
func (s *Settler) settleTogether(ctx context.Context, w *work) (finished, error) {
	if err := s.room.Acquire(ctx, 1); err != nil {
		return finished{}, fmt.Errorf("wait for a suspect batch: %w", err)
	}
	defer s.room.Release(1)
	if err := s.openBatch(w); err != nil {
		return s.bury(ctx, w, undecodable(w.payload, err))
	}
	b := s.normalise(w)
	done := finished{result: resultCommitted, dead: len(b.DeadLetters)}
	commits := s.live
	if w.from == fromBackfill {
		commits = s.history
	}
	err := commits.Do(ctx, b)
	if err != nil {
		alone := surgery{s: s, w: *w}
		var cut bool
		if cut, err = alone.needed(ctx, err); cut {
			done.result = resultCut
			err = alone.settle(ctx, b)
		}
		done.dead += alone.dead
	}
	return done, err
}

// openBatch opens the payload of w.
func (s *Settler) openBatch(w *work) error {
	return groupcommit.Guard(func() error {
		b, err := s.open(w.payload)
		if err != nil {
			return err
		}
		w.envelopes = b.Envelopes
		if b.SpoolID != 0 {
			w.spoolIDs = append(w.spoolIDs, b.SpoolID)
		}
		return nil
	})
}

// normalise turns each envelope of w into changes or into a dead letter.
func (s *Settler) normalise(w *work) content.Batch {
	b := content.Batch{Changes: make([]content.ChangeSet, 0, len(w.envelopes)), SpoolIDs: w.spoolIDs}
	for i := range w.envelopes {
		s.normaliseInto(&b, w.envelopes[i])
	}
	return b
}

func (s *Settler) normaliseInto(b *content.Batch, env ingest.Envelope) {
	if env.Format == ingest.QueuedBatch {
		s.reopenInto(b, env)
		return
	}
	cs, err := s.normaliser.Normalise(env)
	if err != nil {
		b.DeadLetters = append(b.DeadLetters, rejected(env, err))
		return
	}
	b.Changes = append(b.Changes, cs)
}

// reopenInto tries again to open a batch that came back from the dead letters.
func (s *Settler) reopenInto(b *content.Batch, env ingest.Envelope) {
	opened, err := s.open(env.Raw)
	if err != nil {
		letter := undecodable(env.Raw, err)
		letter.DiedAt, letter.Envelope.ReceivedAt = time.Now(), env.ReceivedAt
		b.DeadLetters = append(b.DeadLetters, letter)
		return
	}
	for _, inner := range opened.Envelopes {
		s.normaliseInto(b, inner)
	}
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
	for i := range b.DeadLetters {
		d := &b.DeadLetters[i]
		s.log.Warn("update died", "source", d.Envelope.Source.String(), "update_id", d.UpdateID, "class", d.Class, "error", d.Error)
	}
	return nil
}

// bury commits letter in place of w's updates, which nobody can read.
func (s *Settler) bury(ctx context.Context, w *work, letter ingest.DeadLetter) (finished, error) {
	letter.DiedAt = time.Now()
	letter.Envelope.ReceivedAt = letter.DiedAt
	err := s.commit(ctx, content.Batch{DeadLetters: []ingest.DeadLetter{letter}, SpoolIDs: w.spoolIDs})
	return finished{result: resultBuried, dead: 1}, err
}

// finished is how the work on a batch ended.
type finished struct {
	result result
	dead   int
	took   time.Duration
	err    error
}

// finish ends the work on w, which returned err: it returns the error that makes w come back, counts the batch and writes its one
// wide line.
func (s *Settler) finish(ctx context.Context, w work, f finished, start time.Time, err error) error {
	if err != nil {
		f.result, f.err = resultRetried, s.retry(err)
	}
	f.took = time.Since(start)
	s.tell(ctx, w, f)
	return f.err
}

// tell counts a batch and writes its line.
func (s *Settler) tell(ctx context.Context, w work, f finished) {
	s.metrics.batches.WithLabelValues(string(w.from), string(f.result)).Inc()
	level := slog.LevelInfo
	attrs := []slog.Attr{
		slog.String("from", string(w.from)),
		slog.String("result", string(f.result)),
		slog.Int("updates", len(w.envelopes)),
		slog.Int("dead", f.dead),
		slog.Int("crashes", w.crashes),
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
