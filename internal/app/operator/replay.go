package operator

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/tgfleet/tgfleet/internal/content"
	"github.com/tgfleet/tgfleet/internal/fault"
	"github.com/tgfleet/tgfleet/internal/ingest"
	"github.com/tgfleet/tgfleet/internal/normalise"
	"github.com/tgfleet/tgfleet/internal/normalise/botapi"
	"github.com/tgfleet/tgfleet/internal/queue"
	"github.com/tgfleet/tgfleet/internal/store"
	"github.com/tgfleet/tgfleet/internal/tasks"
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
		Long: fmt.Sprintf(`Reads updates of the ledger again with the normaliser of this program (version %d), writes what it makes of them, and shows as a diff what
that changes. What it reads wins over what an older version made of the same update, and over nothing newer; no event leaves for that.
With --dry-run nothing is written.

It may be stopped at any time, also by kill -9: the same command goes on where it stopped. While live updates are more than %s late it
waits; for that it looks into the spool, and into the queues where REDIS_URL is set. An update that can't be read or written is counted as
refused, and stays in the archive as it was.

--json prints a line for each row that changes, {"table", "key", "cells": [{"column", "before", "after"}]}, and last
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
			return turn(turning, &r.replay, replayPage, readAgain(normalise.Set{ingest.BotAPIJSON: botapi.New()}))
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

// changeLine is one changed row as --json prints it.
type changeLine struct {
	Table string       `json:"table"`
	Key   string       `json:"key"`
	Cells []changeCell `json:"cells"`
}

type changeCell struct {
	Column string `json:"column"`
	Before any    `json:"before"`
	After  any    `json:"after"`
}

// tell counts what a page came to, and prints what is to be shown of it.
func (r *replaying) tell(reading store.Reading) error {
	for _, refusal := range reading.Refused {
		r.tally.refused[reasonOf(refusal.Reason)]++
	}
	for i := range reading.Changes {
		change := &reading.Changes[i]
		tally := r.tally.tables[change.Table]
		if tally == nil {
			tally = &rowTally{}
			r.tally.tables[change.Table] = tally
		}
		sign := tally.count(change)
		if r.json {
			if err := r.print(lineOfChange(change), nil); err != nil {
				return err
			}
		} else if r.tally.shown < r.show {
			r.tally.shown++
			r.progress.clear()
			printChange(r.cmd.OutOrStdout(), sign, change)
		}
	}
	return nil
}

// count counts change, and returns the sign that stands before it in a diff.
func (t *rowTally) count(change *store.RowChange) string {
	added := !slices.ContainsFunc(change.Cells, func(c store.CellChange) bool { return c.Before != nil })
	gone := !slices.ContainsFunc(change.Cells, func(c store.CellChange) bool { return c.After != nil })
	switch {
	case added:
		t.added++
		return "+"
	case gone:
		t.gone++
		return "-"
	default:
		t.changed++
		return "~"
	}
}

// reasonOf returns the class of a refusal, which is one of few.
func reasonOf(err error) string {
	var rejected *normalise.Rejected
	if errors.As(err, &rejected) {
		return string(rejected.Class)
	}
	return "refused by the database"
}

func lineOfChange(change *store.RowChange) changeLine {
	line := changeLine{Table: change.Table, Key: change.Key, Cells: []changeCell{}}
	for _, c := range change.Cells {
		line.Cells = append(line.Cells, changeCell(c))
	}
	return line
}

func printChange(w io.Writer, sign string, change *store.RowChange) {
	fmt.Fprintf(w, "%s %s %s\n", sign, change.Table, change.Key)
	for _, c := range change.Cells {
		if c.Before != nil {
			fmt.Fprintf(w, "    - %s: %s\n", c.Column, cellText(c.Before))
		}
		if c.After != nil {
			fmt.Fprintf(w, "    + %s: %s\n", c.Column, cellText(c.After))
		}
	}
}

// cellText returns a cell as one line of a terminal, texts in quotes.
func cellText(cell any) string {
	const most = 200
	text, ok := cell.(string)
	if !ok {
		return fmt.Sprint(cell)
	}
	if runes := []rune(text); len(runes) > most {
		text = string(runes[:most]) + "..."
	}
	return fmt.Sprintf("%q", text)
}

// replayLine is what a run came to.
type replayLine struct {
	Normaliser uint16         `json:"normaliser_version"`
	Updates    int            `json:"updates"`
	Changed    int            `json:"changed"`
	Refused    map[string]int `json:"refused"`
	DryRun     bool           `json:"dry_run,omitempty"`
}

func (r *replaying) conclude() error {
	return r.print(replayLine{
		Normaliser: normalise.Version, Updates: r.replay.Updates, Changed: r.replay.Changed, Refused: r.tally.refused, DryRun: r.dryRun,
	}, func(w io.Writer) {
		if hidden := r.replay.Changed - r.tally.shown; r.tally.shown > 0 && hidden > 0 {
			row(w, fmt.Sprintf("... and %d rows more: --show N, or --json.", hidden))
		}
		if len(r.tally.tables) > 0 {
			row(w, "TABLE", "CHANGED", "NEW", "GONE")
		}
		for _, table := range slices.Sorted(maps.Keys(r.tally.tables)) {
			t := r.tally.tables[table]
			row(w, table, t.changed, t.added, t.gone)
		}
		changed := "rows are different now"
		if r.dryRun {
			changed = "rows would be different; nothing was written"
		}
		row(w, fmt.Sprintf("%d updates read with normaliser %d: %d %s.", r.replay.Updates, normalise.Version, r.replay.Changed, changed))
		for _, reason := range slices.Sorted(maps.Keys(r.tally.refused)) {
			row(w, fmt.Sprintf("%d refused: %s. Their rows stay as they were.", r.tally.refused[reason], reason))
		}
	})
}

// lookWithin bounds one look at what waits.
const lookWithin = 5 * time.Second

// liveLine is the way of live updates to the archive, and how late they are on it. It belongs to one goroutine.
type liveLine struct {
	spool *store.Spool
	// queue is nil where no Redis is named.
	queue  *queue.Client
	looked time.Time
	was    time.Duration
}

// newLiveLine returns the line of this fleet, and what closes it.
func (s *session) newLiveLine() (line liveLine, closeLine func() error, err error) {
	line.spool = s.db.Spool()
	if s.cfg.RedisURL == "" {
		return line, func() error { return nil }, nil
	}
	line.queue, err = queue.Open(s.cfg.RedisURL, queue.Options{
		Log: slog.New(slog.DiscardHandler), Shards: map[queue.Class]int{tasks.IngestClass: s.cfg.IngestQueues},
	})
	if err != nil {
		return liveLine{}, nil, fmt.Errorf("REDIS_URL: %w", err)
	}
	return line, line.queue.Close, nil
}

// late returns how long the oldest update that waits has been waiting, as it was seen a second ago at most. Where Redis does not
// answer, live updates are in the spool.
func (l *liveLine) late(ctx context.Context) (time.Duration, error) {
	if time.Since(l.looked) < lookEvery {
		return l.was, nil
	}
	looking, cancel := context.WithTimeout(ctx, lookWithin)
	defer cancel()
	waiting, oldest, err := l.spool.Backlog(looking)
	if err != nil {
		return 0, err
	}
	l.looked, l.was = time.Now(), 0
	if waiting > 0 {
		l.was = time.Since(oldest)
	}
	if l.queue != nil {
		if depth, err := l.queue.Depth(looking, tasks.IngestClass); err == nil {
			l.was = max(l.was, depth.Oldest)
		}
	}
	return l.was, nil
}
