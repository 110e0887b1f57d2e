package operator

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/tgfleet/tgfleet/internal/content"
	"github.com/tgfleet/tgfleet/internal/fault"
	"github.com/tgfleet/tgfleet/internal/ingest"
	"github.com/tgfleet/tgfleet/internal/normalise"
	"github.com/tgfleet/tgfleet/internal/normalise/botapi"
	"github.com/tgfleet/tgfleet/internal/normalise/mtproto"
	"github.com/tgfleet/tgfleet/internal/store"
)

const (
	// replayPage is how many updates are read again in one transaction: short enough that live updates of the same chats hardly wait for it.
	replayPage = 200
	// replayWithin bounds one such transaction. It is not cut short by whoever stops the command.
	replayWithin = 20 * time.Second
	// behindBy is how late live updates may be while the ledger is read again.
	behindBy = 2 * time.Second
	// replayExamples is how many changes are shown to people unless they ask for more.
	replayExamples = 20
)

func replayCommand(env Env) *cobra.Command {
	var flags replayFlags
	cmd := addJSON(&cobra.Command{
		Use:   "replay",
		Short: "Read the ledger again with the normaliser of this program",
		Long: fmt.Sprintf(`Reads updates of the ledger again with the normaliser of this program (version %d), writes what it makes of them, and shows as
a diff what that changes. What it reads wins over what an older version made of the same update, and over nothing newer; no event leaves for that.
With --dry-run nothing is written.

It may be stopped at any time, also by kill -9: the same command goes on where it stopped. While live updates are more than %s late it
waits; for that it looks into the spool, and into the queues where REDIS_URL is set. An update that can't be read or written is counted as
refused, and stays in the archive as it was.

--json prints a line for each row that changes, {"table", "key", "cells": [{"column", "before", "after"}]} with "new": true or "gone": true
where that is so, and last
{"updates", "changed", "refused": {REASON: N}, ...}.`, normalise.Version, behindBy) + settings(),
		Example: `  tgfleet replay --from 2026-11-01 --dry-run
  tgfleet replay --from 2026-11-01 --to 2026-11-08 --kind message
  tgfleet replay --source botapi:7000000001 --show 0
  tgfleet replay --dry-run --json | jq 'select(.table == "messages")'`,
		Args: cobra.NoArgs,
	})
	cmd.Flags().StringVar(&flags.from, "from", "", "only updates received from then on, as 2026-11-01 or 2026-11-01T12:00:00Z (UTC)")
	cmd.Flags().StringVar(&flags.to, "to", "", "only updates received before then")
	cmd.Flags().StringVar(&flags.source, "source", "", "only of this source, as botapi:<bot id>")
	cmd.Flags().StringVar(&flags.kind, "kind", "", "only of this kind, as message or edited_message")
	cmd.Flags().BoolVar(&flags.dryRun, "dry-run", false, "show what would change, and write nothing")
	cmd.Flags().IntVar(&flags.show, "show", replayExamples, "how many changed rows to show, at most; --json prints all")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		what, err := flags.what()
		if err != nil {
			return err
		}
		return withDatabase(env, cmd, nil, func(ctx context.Context, s *session) error {
			line, closeLine, err := s.newLiveLine()
			if err != nil {
				return err
			}
			r := replaying{session: s, replays: s.db.Replays(), what: what, show: flags.show, dryRun: flags.dryRun, live: line}
			r.progress = &progress{}
			if isTerminal(env.Err) && !s.json {
				r.progress.terminal = env.Err
			} else {
				r.progress.plain = env.Err
			}
			return errors.Join(r.run(ctx), closeLine())
		})
	}
	return cmd
}

// replayFlags are the flags of `replay`.
type replayFlags struct {
	from, to     string
	source, kind string
	dryRun       bool
	show         int
}

// what returns the updates that the flags mean.
func (f *replayFlags) what() (what store.ReplayRange, err error) {
	what.Kind = ingest.Kind(f.kind)
	if what.From, err = parseMoment("--from", f.from); err != nil {
		return what, err
	}
	if what.To, err = parseMoment("--to", f.to); err != nil {
		return what, err
	}
	if !what.From.IsZero() && !what.To.IsZero() && !what.From.Before(what.To) {
		return what, errors.New("--from is not before --to: nothing is received between them")
	}
	if f.source != "" {
		if what.Source, err = ingest.ParseSource(f.source); err != nil {
			return what, fmt.Errorf("--source: %w", err)
		}
	}
	return what, nil
}

// parseMoment reads a day, or a moment, of UTC unless it says otherwise; the empty text is the zero time.
func parseMoment(flag, text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	for _, layout := range []string{time.DateOnly, "2006-01-02T15:04", "2006-01-02 15:04", time.RFC3339} {
		if at, err := time.Parse(layout, text); err == nil {
			return at.UTC(), nil
		}
	}
	return time.Time{}, fmt.Errorf("%s %q: want a day as 2026-11-01 or a time as 2026-11-01T12:00:00Z", flag, text)
}

// replaying is one run of `replay`. It belongs to one goroutine.
type replaying struct {
	*session
	replays  *store.Replays
	replay   store.Replay
	what     store.ReplayRange
	show     int
	dryRun   bool
	live     liveLine
	progress *progress
	tally    replayTally
}

// replayTally is what a run did.
type replayTally struct {
	tables  map[string]*rowTally
	refused map[string]int
	shown   int
}

// rowTally counts the rows of one table.
type rowTally struct {
	changed, added, gone int
}

func (r *replaying) run(ctx context.Context) error {
	r.tally = replayTally{tables: map[string]*rowTally{}, refused: map[string]int{}}
	if err := r.begin(ctx); err != nil {
		return err
	}
	remaining, err := r.replays.Remaining(ctx, r.replay)
	if err != nil {
		return err
	}
	r.progress.before, r.progress.total, r.progress.start = r.replay.Updates, r.replay.Updates+remaining, time.Now()
	err = r.turnPages(ctx)
	r.progress.clear()
	if err != nil && !r.dryRun {
		// Whoever goes on need not wait until this process counts as gone.
		releasing, cancel := context.WithTimeout(context.WithoutCancel(ctx), lookWithin)
		defer cancel()
		_ = r.replays.Release(releasing, r.replay) // the hold ends by itself
	}
	if err == nil {
		return r.conclude()
	}
	if ctx.Err() != nil {
		err = errors.New("stopped")
	}
	if r.dryRun {
		return fmt.Errorf("%w after %d of %d updates; nothing was written", err, r.replay.Updates, r.progress.total)
	}
	return fmt.Errorf("%w after %d of %d updates; the same command goes on from there", err, r.replay.Updates, r.progress.total)
}

// begin takes the replay up, or starts it. A process that was killed holds it for a while; that is waited for, once.
func (r *replaying) begin(ctx context.Context) (err error) {
	r.replay = store.Replay{Range: r.what}
	if r.dryRun {
		return nil
	}
	r.replay, err = r.replays.Begin(ctx, r.what, normalise.Version)
	wait, held := fault.After(err)
	if !held {
		return err
	}
	fmt.Fprintf(r.cmd.ErrOrStderr(), "Another process runs this replay, or was killed a moment ago; waiting %s to see.\n", wait.Round(time.Second))
	if err := until(ctx, time.Now().Add(wait+time.Second)); err != nil {
		return err
	}
	r.replay, err = r.replays.Begin(ctx, r.what, normalise.Version)
	if _, held := fault.After(err); held {
		return errors.New("another process runs this replay: wait until it is done")
	}
	return err
}

func (r *replaying) turnPages(ctx context.Context) error {
	turn := r.replays.Next
	if r.dryRun {
		turn = r.replays.Preview
	}
	for !r.replay.Done {
		if err := r.yield(ctx); err != nil {
			return err
		}
		reading, err := func() (store.Reading, error) {
			turning, cancel := context.WithTimeout(context.WithoutCancel(ctx), replayWithin)
			defer cancel()
			return turn(turning, &r.replay, replayPage, readAgain(normalise.Set{
				ingest.BotAPIJSON: botapi.New(), ingest.MTProtoTL: mtproto.New(), ingest.SealedTL: mtproto.NewSealed(),
			}))
		}()
		if err != nil {
			return err
		}
		if err := r.tell(reading); err != nil {
			return err
		}
		r.progress.show(r.replay.Updates, "")
	}
	return nil
}

// readAgain returns the reader that has set read what the ledger has.
func readAgain(set normalise.Set) store.Reader {
	return func(r *store.LedgerRow) (content.ChangeSet, error) {
		return set.Normalise(ingest.Envelope{
			Source: r.Source, ReceivedAt: r.ReceivedAt, Origin: r.Origin, Format: r.Format, Layer: r.Layer, Request: r.Request, Raw: r.Payload,
		})
	}
}

// yield waits while live updates are late.
func (r *replaying) yield(ctx context.Context) error {
	for {
		late, err := r.live.late(ctx)
		if err != nil || late <= behindBy {
			return cmp.Or(err, ctx.Err())
		}
		r.progress.show(r.replay.Updates, fmt.Sprintf("live updates, which are %s late", late.Round(time.Second)))
		if !r.dryRun {
			if err := r.replays.Keep(ctx, r.replay); err != nil {
				return err
			}
		}
		if err := until(ctx, time.Now().Add(lookEvery)); err != nil {
			return err
		}
	}
}
