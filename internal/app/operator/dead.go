package operator

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/tgfleet/tgfleet/internal/accept/batch"
	"github.com/tgfleet/tgfleet/internal/ingest"
	"github.com/tgfleet/tgfleet/internal/store"
)

func deadCommand(env Env) *cobra.Command {
	return group("dead", "Look at the updates that could not be applied, and send them back",
		deadList(env), deadShow(env), deadRetry(env), deadDrop(env))
}

// deadLine is one dead letter as `dead list` and `dead show` print it.
type deadLine struct {
	ID         int64     `json:"id"`
	DiedAt     time.Time `json:"died_at"`
	ReceivedAt time.Time `json:"received_at"`
	Source     string    `json:"source"`
	UpdateID   int64     `json:"update_id"`
	Class      string    `json:"class"`
	Error      string    `json:"error"`
	Normaliser uint16    `json:"normaliser_version"`
	// Payload is the exact bytes, in base64; `dead show` alone tells them.
	Payload []byte `json:"payload,omitempty"`
}

func deadLineOf(l *store.DeadLetter) deadLine {
	return deadLine{
		ID: l.ID, DiedAt: l.DiedAt, ReceivedAt: l.Envelope.ReceivedAt, Source: l.Envelope.Source.String(), UpdateID: l.UpdateID,
		Class: l.Class, Error: l.Error, Normaliser: l.NormaliserVersion,
	}
}

// deadFilter is the flags by which letters are chosen.
type deadFilter struct {
	class  string
	source string
}

func (f *deadFilter) flags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.class, "class", "", "only letters of this class, as malformed")
	cmd.Flags().StringVar(&f.source, "source", "", "only letters of this source, as botapi:<bot id>")
}

func (f *deadFilter) filter() (store.DeadLetterFilter, error) {
	filter := store.DeadLetterFilter{Class: f.class}
	if f.source == "" {
		return filter, nil
	}
	source, err := ingest.ParseSource(f.source)
	if err != nil {
		return filter, fmt.Errorf("--source: %w", err)
	}
	filter.Source = source
	return filter, nil
}

func deadList(env Env) *cobra.Command {
	var chosen deadFilter
	var limit int
	cmd := addJSON(&cobra.Command{
		Use:   "list",
		Short: "List the dead letters, the latest first",
		Long:  "Lists the updates that could not be applied, the latest first, after a summary by class." + settings(),
		Example: `  tgfleet dead list
  tgfleet dead list --class malformed --limit 10 --json`,
		Args: cobra.NoArgs,
	})
	chosen.flags(cmd)
	cmd.Flags().IntVar(&limit, "limit", 50, "how many letters")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		filter, err := chosen.filter()
		if err != nil {
			return err
		}
		return withDatabase(env, cmd, nil, func(ctx context.Context, s *session) error {
			return s.listDead(ctx, filter, limit)
		})
	}
	return cmd
}

func (s *session) listDead(ctx context.Context, filter store.DeadLetterFilter, limit int) error {
	letters, err := s.db.DeadLetters().List(ctx, filter, limit)
	if err != nil {
		return err
	}
	groups, err := s.db.DeadLetters().Summary(ctx)
	if err != nil {
		return err
	}
	lines := make([]deadLine, len(letters))
	for i := range letters {
		lines[i] = deadLineOf(&letters[i])
	}
	return s.print(lines, func(w io.Writer) {
		if len(groups) == 0 {
			row(w, "No dead letters.")
			return
		}
		row(w, "CLASS", "NORMALISER", "LETTERS", "NEWEST")
		for _, g := range groups {
			row(w, g.Class, g.NormaliserVersion, g.Letters, g.Newest.UTC().Format(timeFormat))
		}
		row(w)
		row(w, "ID", "DIED AT", "SOURCE", "UPDATE", "CLASS", "ERROR")
		for _, l := range lines {
			row(w, l.ID, l.DiedAt.UTC().Format(timeFormat), l.Source, l.UpdateID, l.Class, l.Error)
		}
	})
}

func deadShow(env Env) *cobra.Command {
	var raw bool
	cmd := addJSON(&cobra.Command{
		Use:     "show ID",
		Short:   "Print one dead letter whole",
		Long:    "Prints a dead letter with its payload; --raw prints the exact bytes that came." + settings(),
		Example: "  tgfleet dead show 7\n  tgfleet dead show 7 --raw | jq .",
		Args:    cobra.ExactArgs(1),
	})
	cmd.Flags().BoolVar(&raw, "raw", false, "print the exact bytes and nothing else")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		ids, err := letterIDs(args)
		if err != nil {
			return err
		}
		return withDatabase(env, cmd, nil, func(ctx context.Context, s *session) error {
			letter, err := s.db.DeadLetters().Get(ctx, ids[0])
			if err != nil {
				return err
			}
			if raw {
				_, err := cmd.OutOrStdout().Write(letter.Envelope.Raw)
				return err
			}
			line := deadLineOf(&letter)
			line.Payload = letter.Envelope.Raw
			return s.print(line, func(w io.Writer) { printLetter(w, &line) })
		})
	}
	return cmd
}

func printLetter(w io.Writer, l *deadLine) {
	row(w, "id", l.ID)
	row(w, "died_at", l.DiedAt.UTC().Format(timeFormat))
	row(w, "received_at", l.ReceivedAt.UTC().Format(timeFormat))
	row(w, "source", l.Source)
	row(w, "update_id", l.UpdateID)
	row(w, "class", l.Class)
	row(w, "error", l.Error)
	row(w, "normaliser", l.Normaliser)
	row(w, "payload", strconv.Itoa(len(l.Payload))+" bytes")
	var pretty bytes.Buffer
	if json.Indent(&pretty, l.Payload, "", "  ") == nil {
		row(w, pretty.String())
		return
	}
	row(w, strconv.QuoteToASCII(string(l.Payload)))
}

func deadRetry(env Env) *cobra.Command {
	var chosen deadFilter
	var all bool
	cmd := addJSON(&cobra.Command{
		Use:   "retry [ID...]",
		Short: "Send dead letters back into the line",
		Long: `Sends dead letters back to the workers, in one transaction: after a newer normaliser was deployed, or a fault mended.
What dies again is a dead letter again.` + settings(),
		Example: "  tgfleet dead retry 7 8\n  tgfleet dead retry --class panic\n  tgfleet dead retry --all",
	})
	chosen.flags(cmd)
	cmd.Flags().BoolVar(&all, "all", false, "every dead letter")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		filter, err := chosen.filter()
		if err != nil {
			return err
		}
		if len(args) > 0 {
			if filter.IDs, err = letterIDs(args); err != nil {
				return err
			}
		}
		if len(args) == 0 && chosen == (deadFilter{}) && !all {
			return errors.New("say which letters: ids, --class, --source, or --all")
		}
		return withDatabase(env, cmd, nil, func(ctx context.Context, s *session) error {
			letters, err := s.db.DeadLetters().Retry(ctx, filter, encodeEnvelopes)
			if err != nil {
				return err
			}
			return s.print(map[string]int{"retried": letters}, func(w io.Writer) {
				row(w, fmt.Sprintf("%d sent back; the workers take them from the spool.", letters))
			})
		})
	}
	return cmd
}

func encodeEnvelopes(envelopes []ingest.Envelope) ([]byte, error) {
	return batch.Encode(batch.Batch{Envelopes: envelopes}), nil
}

func deadDrop(env Env) *cobra.Command {
	cmd := addJSON(&cobra.Command{
		Use:     "drop ID...",
		Short:   "Delete dead letters for good",
		Long:    "Deletes the dead letters named, and the updates in them, for good." + settings(),
		Example: "  tgfleet dead drop 7 8",
		Args:    cobra.MinimumNArgs(1),
	})
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		ids, err := letterIDs(args)
		if err != nil {
			return err
		}
		return withDatabase(env, cmd, nil, func(ctx context.Context, s *session) error {
			letters, err := s.db.DeadLetters().Drop(ctx, ids)
			if err != nil {
				return err
			}
			return s.print(map[string]int{"dropped": letters}, func(w io.Writer) {
				row(w, fmt.Sprintf("%d of %d dropped.", letters, len(ids)))
			})
		})
	}
	return cmd
}

func letterIDs(args []string) ([]int64, error) {
	ids := make([]int64, len(args))
	for i, arg := range args {
		id, err := strconv.ParseInt(arg, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("ID %q: want a number from `tgfleet dead list`", arg)
		}
		ids[i] = id
	}
	return ids, nil
}
