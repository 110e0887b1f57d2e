package tasks

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tgfleet/tgfleet/internal/content"
	"github.com/tgfleet/tgfleet/internal/fault"
	"github.com/tgfleet/tgfleet/internal/ingest"
)

const (
	// fatalAttempts is how often a batch fails for a reason that nobody classified before the update to blame dies.
	fatalAttempts = 3
	// countWithin and probeWithin bound the small writes beside the commits.
	countWithin = 5 * time.Second
	probeWithin = 5 * time.Second
)

// surgery settles one batch apart from all others, after a commit failed that it took part in.
type surgery struct {
	s *Settler
	w work
	// failures is how often the batch has failed for unknown reasons, this time included; 0 while that was not asked.
	failures int
	// dead counts the updates that died here.
	dead int
}

// needed says what to do about the error of a shared commit: cut is true when the batch has to be settled alone, because
// it may hold what the database will never take. A returned error means: try again later.
func (o *surgery) needed(ctx context.Context, err error) (cut bool, again error) {
	if ctx.Err() != nil { // the worker stops: nothing is known about the batch
		return false, err
	}
	switch fault.ClassOf(err) {
	case fault.Permanent:
		return true, nil
	case fault.Transient, fault.Throttled:
		return false, err
	default:
		if again := o.tooEarly(ctx, err); again != nil {
			return false, again
		}
		return true, nil
	}
}

// tooEarly counts a failure for an unknown reason, once for each surgery, and returns an error while there were too few of them
// to let anything die.
func (o *surgery) tooEarly(ctx context.Context, cause error) error {
	if o.failures == 0 {
		ctx, cancel := context.WithTimeout(ctx, countWithin)
		defer cancel()
		var err error
		if o.failures, err = o.w.countFailure(ctx); err != nil {
			return errors.Join(cause, err)
		}
	}
	if o.failures < fatalAttempts {
		return cause
	}
	return nil
}

// settle settles b. Its spool rows go with the last write, so that a worker that dies half-way leaves them for the next one.
func (o *surgery) settle(ctx context.Context, b content.Batch) error {
	if err := o.cut(ctx, b.Changes); err != nil {
		return err
	}
	if len(b.DeadLetters)+len(b.SpoolIDs) == 0 {
		return nil
	}
	return o.s.commit(ctx, content.Batch{DeadLetters: b.DeadLetters, SpoolIDs: b.SpoolIDs})
}

// cut commits changes, in halves where the whole does not go; a single update that does not go dies. It returns an error when
// the database is to blame and not the update: what was committed by then is committed again later, harmlessly.
func (o *surgery) cut(ctx context.Context, changes []content.ChangeSet) error {
	if len(changes) == 0 {
		return nil
	}
	err := o.s.commit(ctx, content.Batch{Changes: changes})
	if err == nil {
		return nil
	}
	class := fault.ClassOf(err)
	if class == fault.Transient || class == fault.Throttled || ctx.Err() != nil {
		return err
	}
	if len(changes) > 1 {
		half := len(changes) / 2
		if err := o.cut(ctx, changes[:half]); err != nil {
			return err
		}
		return o.cut(ctx, changes[half:])
	}
	return o.condemn(ctx, changes[0], err)
}

// condemn makes a dead letter of an update that the database does not take: at once when the database says that it never will,
// and otherwise after enough failures, once it is sure that the database takes anything.
func (o *surgery) condemn(ctx context.Context, cs content.ChangeSet, cause error) error {
	letter := ingest.DeadLetter{
		Envelope: cs.Update.Envelope, UpdateID: cs.Update.UpdateID, Class: classRefused, Error: cause.Error(),
		NormaliserVersion: cs.Update.NormaliserVersion, DiedAt: time.Now(),
	}
	if fault.ClassOf(cause) != fault.Permanent {
		letter.Class = classRepeated
		if again := o.tooEarly(ctx, cause); again != nil {
			return again
		}
		if err := o.s.probe(ctx); err != nil {
			return err
		}
	}
	if err := o.s.commit(ctx, content.Batch{DeadLetters: []ingest.DeadLetter{letter}}); err != nil {
		return err
	}
	o.dead++
	return nil
}

func (s *Settler) probe(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, probeWithin)
	defer cancel()
	if err := s.archive.Probe(ctx); err != nil {
		return fmt.Errorf("probe the archive: %w", fault.As(fault.Transient, err))
	}
	return nil
}
