package operator

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/tgfleet/tgfleet/internal/accept/batch"
	"github.com/tgfleet/tgfleet/internal/ingest"
	"github.com/tgfleet/tgfleet/internal/store"
)

const (
	// retryBatch is how many letters are sent back in one transaction, at most.
	retryBatch = 64
	// retryWithin bounds one such transaction. It is not cut short by whoever stops the command.
	retryWithin = 30 * time.Second
	// maxSpooled is how many updates may wait in the spool while letters are sent there, and lookEvery how often that is looked at.
	maxSpooled = 5000
	lookEvery  = time.Second
)

// retryLine is what `dead retry` came to.
type retryLine struct {
	// Meant is how many letters there were to send back when the command started.
	Meant   int  `json:"meant"`
	Retried int  `json:"retried"`
	DryRun  bool `json:"dry_run,omitempty"`
	// Stopped is true when the command ended before its end.
	Stopped bool `json:"stopped,omitempty"`
}

func deadRetry(env Env) *cobra.Command {
	var chosen deadFilter
	var by moverFlags
	var flags struct {
		all    bool
		rate   int
		dryRun bool
	}
	cmd := addJSON(&cobra.Command{
		Use:   "retry [ID...]",
		Short: "Send dead letters back into the line",
		Long: fmt.Sprintf(`Sends dead letters back to the workers, through the spool: after a newer normaliser was deployed, or a fault mended. They
are named by ids, or meant by --class, --source and --normaliser-version together, or --all. What dies again is a dead letter again,
under a new id, and is not sent back by the same run.

At most --rate letters a second are sent back, oldest first, in batches that each are one transaction. While more than %d updates
wait in the spool the run waits too, until workers have caught up. Ctrl-C stops it between two batches: what was sent back is on its
way, and the other letters are untouched. On a terminal a line shows how far the run is; elsewhere, and with --json, one line on
stderr says when it has to wait. Each letter's move is recorded: tgfleet dead log.

--json prints {"meant": N, "retried": N}, with "dry_run": true or "stopped": true where that is so.`, maxSpooled) + settings(),
		Example: `  tgfleet dead retry 7 8
  tgfleet dead retry --class panic --normaliser-version 1 --dry-run
  tgfleet dead retry --class panic --normaliser-version 1 --reason "fixed in 1.4"
  tgfleet dead retry --all --rate 50 --as nightly-job --json`,
	})
	chosen.flags(cmd)
	by.flags(cmd)
	cmd.Flags().BoolVar(&flags.all, "all", false, "every dead letter")
	cmd.Flags().IntVar(&flags.rate, "rate", 200, "updates a second, at most")
	cmd.Flags().BoolVar(&flags.dryRun, "dry-run", false, "say how many letters are meant, and move none")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		filter, err := chosen.filter()
		if err != nil {
			return err
		}
		switch {
		case flags.rate < 1:
			return fmt.Errorf("--rate %d: want at least 1 update a second", flags.rate)
		case len(args) == 0 && chosen == (deadFilter{}) && !flags.all:
			return errors.New("say which letters: ids, --class, --source, --normaliser-version, or --all")
		case len(args) > 0 && (chosen != (deadFilter{}) || flags.all), chosen != (deadFilter{}) && flags.all:
			return errors.New("say which letters in one way: ids, or --class, --source and --normaliser-version, or --all")
		}
		if filter.IDs, err = letterIDs(args); err != nil {
			return err
		}
		mover, err := by.mover(cmd)
		if err != nil {
			return err
		}
		return withDatabase(env, cmd, nil, func(ctx context.Context, s *session) error {
			if err := s.checkClass(ctx, filter.Class); err != nil {
				return err
			}
			ids, err := s.db.DeadLetters().IDs(ctx, filter)
			if err != nil {
				return err
			}
			if flags.dryRun {
				return s.print(retryLine{Meant: len(ids), DryRun: true}, func(w io.Writer) {
					row(w, fmt.Sprintf("%d letters would be sent back.", len(ids)))
				})
			}
			r := retrying{letters: s.db.DeadLetters().By(mover), spool: s.db.Spool(), rate: flags.rate}
			r.progress = &progress{total: len(ids), rate: flags.rate, start: time.Now()}
			if isTerminal(env.Err) && !s.json {
				r.progress.terminal = env.Err
			} else {
				r.progress.plain = env.Err
			}
			return s.retryDead(ctx, &r, ids)
		})
	}
	return cmd
}

func (s *session) retryDead(ctx context.Context, r *retrying, ids []int64) error {
	err := r.run(ctx, ids)
	r.progress.clear()
	if err == nil {
		return s.print(retryLine{Meant: len(ids), Retried: r.retried}, func(w io.Writer) {
			row(w, fmt.Sprintf("%d of %d sent back; the workers take them from the spool.", r.retried, len(ids)))
		})
	}
	if s.json {
		if err := s.print(retryLine{Meant: len(ids), Retried: r.retried, Stopped: true}, nil); err != nil {
			return err
		}
	}
	if ctx.Err() != nil {
		err = errors.New("stopped")
	}
	return fmt.Errorf("%w: %d of %d sent back, the others are untouched", err, r.retried, len(ids))
}

// retrying sends letters back at a bounded rate. It is for one run, by one goroutine.
type retrying struct {
	letters  *store.DeadLetters
	spool    *store.Spool
	rate     int
	progress *progress
	retried  int
	// due is when the next batch may go, and looked when the spool was looked at last.
	due, looked time.Time
}

// run sends the letters ids back. They were listed before the first one went, so that what dies again on the way is not among
// them. It returns early, between two batches, when ctx ends or the database fails.
func (r *retrying) run(ctx context.Context, ids []int64) error {
	for len(ids) > 0 {
		// No more at a time than the rate allows in a second, so that a low rate is kept from the first second on.
		some := ids[:min(len(ids), retryBatch, r.rate)]
		ids = ids[len(some):]
		// Large letters take several batches. Others may have moved some meanwhile: none left is as good as all sent.
		for sent := 0; sent < len(some); {
			n, err := r.send(ctx, some)
			if err != nil {
				return err
			}
			if n == 0 {
				break
			}
			sent += n
		}
	}
	return nil
}

// send sends one batch of the letters ids back, when it is time to, and returns how many there were.
func (r *retrying) send(ctx context.Context, ids []int64) (letters int, err error) {
	if err := until(ctx, r.due); err != nil {
		return 0, err
	}
	if err := r.room(ctx); err != nil {
		return 0, err
	}
	start := time.Now()
	sending, cancel := context.WithTimeout(context.WithoutCancel(ctx), retryWithin)
	defer cancel()
	letters, err = r.letters.Retry(sending, store.DeadLetterFilter{IDs: ids}, encodeEnvelopes)
	if err != nil {
		return 0, err
	}
	r.retried += letters
	r.due = start.Add(time.Duration(letters) * time.Second / time.Duration(r.rate))
	r.progress.show(r.retried, "")
	return letters, nil
}

// room waits until the spool is no fuller than maxSpooled.
func (r *retrying) room(ctx context.Context) error {
	if time.Since(r.looked) < lookEvery {
		return nil
	}
	for {
		waiting, _, err := r.spool.Backlog(ctx)
		if err != nil {
			return err
		}
		r.looked = time.Now()
		if waiting <= maxSpooled {
			return nil
		}
		r.progress.show(r.retried, fmt.Sprintf("the workers: %d updates in the spool, and no more than %d may wait there", waiting, maxSpooled))
		if err := until(ctx, r.looked.Add(lookEvery)); err != nil {
			return err
		}
	}
}

// until waits for the time at, and returns ctx's error when it ends before that; at the latest then.
func until(ctx context.Context, at time.Time) error {
	timer := time.NewTimer(time.Until(at))
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
	return ctx.Err()
}

func encodeEnvelopes(envelopes []ingest.Envelope) ([]byte, error) {
	return batch.Encode(batch.Batch{Envelopes: envelopes}), nil
}
