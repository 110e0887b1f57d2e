package operator

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/tgfleet/tgfleet/internal/accept/batch"
	"github.com/tgfleet/tgfleet/internal/fault"
	"github.com/tgfleet/tgfleet/internal/ingest"
	"github.com/tgfleet/tgfleet/internal/seal"
	"github.com/tgfleet/tgfleet/internal/store"
)

const (
	// rotatePage is how many sealed texts are read at once.
	rotatePage = 200
	// rotateRounds is how often a run looks again at what others changed while it was looking.
	rotateRounds = 5
	// countWithin bounds the counting of sealed updates, which is told and decides nothing.
	countWithin = 30 * time.Second
	// spoolPage and spoolMost bound what is read of the spool: its batches have to be unpacked.
	spoolPage = 20
	spoolMost = 1000
)

func keysRotate(env Env) *cobra.Command {
	var dryRun bool
	cmd := addJSON(&cobra.Command{
		Use:   "rotate",
		Short: "Seal again, with the first key of SECRET_KEYS, what older keys sealed",
		Long: fmt.Sprintf(`Opens every stored token, session and sign-in that another key sealed than the first one of SECRET_KEYS, and seals it
with the first. Everything may run meanwhile: a text that somebody changes is looked at again and never overwritten. It may be stopped at any
time, and run again; what is done is done. With --dry-run nothing is written.

A key is changed in this order: put a new one behind the others in SECRET_KEYS of workers, listeners and this tool, and restart them, so that
all can open what it seals; put it first everywhere and restart them again; run this; take the old key out when this says that nothing
needs it any more.

What SECRET_KEYS cannot open is named by table and row and stays as it is; the exit code is 1 then. Login codes that Telegram sent lie
sealed in the updates themselves, which never change: how many each key sealed is counted in the ledger, the dead letters and the spool (its
first %d batches), for at most %s, and not in Redis. Keep the key in SECRET_KEYS until they are gone: LEDGER_RETENTION after the
last of them.

--json prints {"sealing", "resealed": {COLUMN: N}, "unreadable": [{"table", "column", "row", "key_id", "reason"}], "keys": {KEY: {COLUMN: N}},
"updates": {KEY: {"ledger", "dead_letters", "spool"}}, "updates_counted"}.`, spoolMost, countWithin) + settings(),
		Example: `  tgfleet keys rotate --dry-run
  tgfleet keys rotate
  tgfleet keys rotate --json | jq .keys`,
		Args: cobra.NoArgs,
	})
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "open everything, say what would be sealed again, and write nothing")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return withDatabase(env, cmd, []string{"SECRET_KEYS"}, func(ctx context.Context, s *session) error {
			ring, err := seal.ParseRing(s.cfg.SecretKeys)
			if err != nil {
				return fmt.Errorf("SECRET_KEYS: %w", err)
			}
			r := rotation{session: s, sealed: s.db.Sealed(), ring: ring, dryRun: dryRun, progress: &progress{start: time.Now()}}
			if isTerminal(env.Err) && !s.json {
				r.progress.terminal = env.Err
			}
			return r.run(ctx)
		})
	}
	return cmd
}

// rotation is one run of `keys rotate`. It belongs to one goroutine.
type rotation struct {
	*session
	sealed   *store.Sealed
	ring     *seal.Ring
	dryRun   bool
	progress *progress
	line     rotateLine
	// moved is how many texts were changed by others, in this round, before they could be replaced.
	moved int
	done  int
}

func (r *rotation) run(ctx context.Context) error {
	r.line = rotateLine{
		Sealing: r.ring.Sealing(), Resealed: map[string]int{}, Keys: map[string]map[string]int{}, Updates: map[string]*updateCounts{}, DryRun: r.dryRun,
	}
	before, err := r.count(ctx)
	if err != nil {
		return err
	}
	for id, columns := range before {
		if id != r.line.Sealing {
			r.progress.total += sum(columns)
		}
	}
	err = r.turnRounds(ctx)
	r.progress.clear()
	if err != nil {
		if ctx.Err() != nil {
			err = errors.New("stopped")
		}
		return fmt.Errorf("%w after %d texts; the same command goes on from there", err, r.done)
	}
	if r.line.Keys, err = r.count(ctx); err != nil {
		return err
	}
	if err := r.countUpdates(ctx); err != nil {
		return err
	}
	if err := r.print(&r.line, r.line.write); err != nil {
		return err
	}
	return r.verdict()
}

// count returns how many texts of each column are under each key's id.
func (r *rotation) count(ctx context.Context) (map[string]map[string]int, error) {
	keys := map[string]map[string]int{}
	for _, column := range store.SealedColumns {
		counts, err := r.sealed.Count(ctx, column)
		if err != nil {
			return nil, err
		}
		for id, n := range counts {
			if keys[id] == nil {
				keys[id] = map[string]int{}
			}
			keys[id][column.String()] = n
		}
	}
	return keys, nil
}

// turnRounds goes through all columns until nobody has changed a text between the looking and the replacing.
func (r *rotation) turnRounds(ctx context.Context) error {
	for range rotateRounds {
		r.moved, r.line.Unreadable = 0, []unreadableText{}
		for _, column := range store.SealedColumns {
			if err := r.turnPages(ctx, column); err != nil {
				return err
			}
		}
		if r.moved == 0 {
			return nil
		}
	}
	// What is left is told by the counts.
	return nil
}

func (r *rotation) turnPages(ctx context.Context, column store.SealedColumn) error {
	var after store.SealedText
	for {
		page, err := r.sealed.Page(ctx, column, r.line.Sealing, after, rotatePage)
		if err != nil || len(page) == 0 {
			return err
		}
		for i := range page {
			if err := r.reseal(ctx, column, &page[i]); err != nil {
				return err
			}
			r.progress.show(r.done, "")
		}
		after = page[len(page)-1]
	}
}

// reseal puts text under the sealing key. One row a transaction: whoever works with the row hardly waits, and no two can wait for each other.
func (r *rotation) reseal(ctx context.Context, column store.SealedColumn, text *store.SealedText) error {
	plain, ok := r.open(column, text)
	if !ok {
		return nil
	}
	if !r.dryRun {
		again, err := r.ring.Seal(column.Purpose, []byte(plain.Reveal()))
		if err != nil {
			return err
		}
		replaced, err := r.sealed.Replace(ctx, column, *text, again)
		if err != nil {
			return err
		}
		if !replaced {
			r.moved++
			return nil
		}
	}
	r.done++
	r.line.Resealed[column.String()]++
	return nil
}

// open opens text, or writes down why that can't be done.
func (r *rotation) open(column store.SealedColumn, text *store.SealedText) (plain seal.Secret, ok bool) {
	plain, err := r.ring.Open(column.Purpose, text.Text)
	if err == nil {
		return plain, true
	}
	id, _ := seal.KeyID(text.Text) // a text without one has the empty id
	r.line.Unreadable = append(r.line.Unreadable, unreadableText{
		Table: column.Table, Column: column.Column, Row: text.Row(), KeyID: id, Reason: err.Error(),
	})
	return "", false
}

// countUpdates counts the updates that are sealed themselves. What takes too long is left, and said to be.
func (r *rotation) countUpdates(ctx context.Context) error {
	counting, cancel := context.WithTimeout(ctx, countWithin)
	defer cancel()
	err := r.countWhereUpdatesLie(counting)
	r.line.UpdatesCounted = err == nil
	if tooLong := counting.Err() != nil && ctx.Err() == nil; tooLong {
		err = nil
	}
	return err
}

func (r *rotation) countWhereUpdatesLie(ctx context.Context) error {
	letters, err := r.sealed.CountDeadLetters(ctx)
	if err != nil {
		return err
	}
	for id, n := range letters {
		r.line.updates(id).DeadLetters = n
	}
	if err := r.countSpool(ctx); err != nil {
		return err
	}
	ledger, err := r.sealed.CountLedger(ctx)
	if err != nil {
		return err
	}
	for id, n := range ledger {
		r.line.updates(id).Ledger = n
	}
	return nil
}

// countSpool looks into the batches of the spool. One that can't be read is left to the workers, who bury it.
func (r *rotation) countSpool(ctx context.Context) error {
	var last int64
	for read := 0; read < spoolMost; read += spoolPage {
		payloads, end, err := r.sealed.Spooled(ctx, last, spoolPage)
		if err != nil || len(payloads) == 0 {
			return err
		}
		last = end
		for _, payload := range payloads {
			unpacked, err := batch.Decode(payload)
			if err != nil {
				continue
			}
			for i := range unpacked.Envelopes {
				if e := &unpacked.Envelopes[i]; e.Format == ingest.SealedTL {
					id, _ := seal.KeyID(string(e.Raw))
					r.line.updates(id).Spool++
				}
			}
		}
	}
	return nil
}

// verdict is the error of a run that left something under another key.
func (r *rotation) verdict() error {
	if missing := r.line.missing(r.ring); len(missing) > 0 {
		return fault.As(fault.Permanent, missingKeys(missing))
	}
	if n := len(r.line.Unreadable); n > 0 {
		return fmt.Errorf("%d sealed texts do not open, though no key is missing: what they held has to be given again", n)
	}
	if left := r.line.left(); left > 0 && !r.dryRun {
		return fmt.Errorf("%d texts were sealed with an older key meanwhile: restart all processes with the new SECRET_KEYS, and run this again", left)
	}
	return nil
}
