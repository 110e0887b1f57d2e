package operator

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/tgfleet/tgfleet/internal/content"
	"github.com/tgfleet/tgfleet/internal/ingest"
	"github.com/tgfleet/tgfleet/internal/store"
)

const (
	followEvery = 500 * time.Millisecond
	// followRows bounds what is read at a time.
	followRows = 1000
	timeFormat = "2006-01-02 15:04:05.000"
)

func updatesCommand(env Env) *cobra.Command {
	return group("updates", "Look at the updates that came", updatesTail(env), updatesShow(env))
}

// updateLine is one update as `updates tail` and `updates show` print it.
type updateLine struct {
	ReceivedAt time.Time       `json:"received_at"`
	Source     string          `json:"source"`
	UpdateID   int64           `json:"update_id"`
	Kind       ingest.Kind     `json:"kind"`
	ChatID     content.ChatID  `json:"chat_id,omitempty"`
	Origin     string          `json:"origin"`
	SizeBytes  int             `json:"size_bytes"`
	Payload    json.RawMessage `json:"payload,omitempty"`
}

func lineOf(r *store.LedgerRow) updateLine {
	return updateLine{
		ReceivedAt: r.ReceivedAt, Source: r.Source.String(), UpdateID: r.UpdateID, Kind: r.Kind, ChatID: r.ChatID,
		Origin: r.Origin.String(), SizeBytes: r.SizeBytes,
	}
}

func updatesTail(env Env) *cobra.Command {
	var flags struct {
		lines  int
		follow bool
		source string
		kind   string
		chat   int64
	}
	cmd := addJSON(&cobra.Command{
		Use:   "tail",
		Short: "Print the latest updates, and with --follow those that come",
		Long:  "Prints the latest updates of the ledger, the newest last. With --json each update is one line." + settings(),
		Example: `  tgfleet updates tail
  tgfleet updates tail --follow --kind edited_message
  tgfleet updates tail -n 1000 --source botapi:7000000001 --json`,
		Args: cobra.NoArgs,
	})
	cmd.Flags().IntVarP(&flags.lines, "lines", "n", 20, "how many of the latest updates")
	cmd.Flags().BoolVarP(&flags.follow, "follow", "f", false, "go on with the updates that come, until Ctrl-C")
	cmd.Flags().StringVar(&flags.source, "source", "", "only from this source, as botapi:<bot id>")
	cmd.Flags().StringVar(&flags.kind, "kind", "", "only of this kind, as message or edited_message")
	cmd.Flags().Int64Var(&flags.chat, "chat", 0, "only about this chat, under all ids that it has had")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		filter := store.LedgerFilter{Kind: ingest.Kind(flags.kind), ChatID: content.ChatID(flags.chat)}
		if flags.source != "" {
			var err error
			if filter.Source, err = ingest.ParseSource(flags.source); err != nil {
				return fmt.Errorf("--source: %w", err)
			}
		}
		return withDatabase(env, cmd, nil, func(ctx context.Context, s *session) error {
			return s.tail(ctx, filter, flags.lines, flags.follow)
		})
	}
	return cmd
}

func (s *session) tail(ctx context.Context, filter store.LedgerFilter, lines int, follow bool) error {
	rows, cursor, err := s.db.Ledger().Tail(ctx, store.Cursor{}, lines, filter)
	if err != nil {
		return err
	}
	if len(rows) == 0 && !follow && !s.json {
		fmt.Fprintln(s.cmd.ErrOrStderr(), "The ledger has no such update yet; --follow waits for them.")
	}
	next := time.NewTicker(followEvery)
	defer next.Stop()
	for {
		if err := s.printUpdates(rows); err != nil || !follow {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-next.C:
		}
		if rows, cursor, err = s.db.Ledger().Tail(ctx, cursor, followRows, filter); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
	}
}

func (s *session) printUpdates(rows []store.LedgerRow) error {
	out := s.cmd.OutOrStdout()
	for i := range rows {
		line := lineOf(&rows[i])
		if s.json {
			if err := s.print(line, nil); err != nil {
				return err
			}
			continue
		}
		chat := "-"
		if line.ChatID != 0 {
			chat = strconv.FormatInt(int64(line.ChatID), 10)
		}
		// Fixed widths, because lines of a tail come one by one.
		_, err := fmt.Fprintf(out, "%s  %-20s  %-12d  %-22s  %-16s  %5d B\n",
			line.ReceivedAt.UTC().Format(timeFormat), line.Source, line.UpdateID, line.Kind, chat, line.SizeBytes)
		if err != nil {
			return err
		}
	}
	return nil
}

func updatesShow(env Env) *cobra.Command {
	var source string
	var raw bool
	cmd := addJSON(&cobra.Command{
		Use:   "show UPDATE_ID",
		Short: "Print one update whole",
		Long:  "Prints what the ledger has of an update, its payload included; --raw prints the exact bytes that Telegram sent." + settings(),
		Example: `  tgfleet updates show 100000001
  tgfleet updates show 100000001 --source botapi:7000000001 --raw`,
		Args: cobra.ExactArgs(1),
	})
	cmd.Flags().StringVar(&source, "source", "", "of this source, as botapi:<bot id>; needed when two bots have such an update")
	cmd.Flags().BoolVar(&raw, "raw", false, "print the exact bytes and nothing else")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		id, err := strconv.ParseInt(args[0], 10, 64)
		if err != nil {
			return fmt.Errorf("UPDATE_ID %q: want a whole number", args[0])
		}
		var of ingest.Source
		if source != "" {
			if of, err = ingest.ParseSource(source); err != nil {
				return fmt.Errorf("--source: %w", err)
			}
		}
		return withDatabase(env, cmd, nil, func(ctx context.Context, s *session) error {
			return s.showUpdate(ctx, of, id, raw)
		})
	}
	return cmd
}

func (s *session) showUpdate(ctx context.Context, source ingest.Source, id int64, raw bool) error {
	rows, err := s.db.Ledger().Show(ctx, source, id)
	if err != nil {
		return err
	}
	if raw {
		for i := range rows[1:] {
			if rows[i+1].Source != rows[0].Source {
				return fmt.Errorf("update %d: %s and %s both have one: name one with --source", id, rows[0].Source, rows[i+1].Source)
			}
		}
		_, err := s.cmd.OutOrStdout().Write(rows[0].Payload)
		return err
	}
	for i := range rows {
		line := lineOf(&rows[i])
		if json.Valid(rows[i].Payload) {
			line.Payload = rows[i].Payload
		}
		if err := s.print(line, func(w io.Writer) { printUpdate(w, &rows[i]) }); err != nil {
			return err
		}
	}
	return nil
}

func printUpdate(w io.Writer, r *store.LedgerRow) {
	row(w, "received_at", r.ReceivedAt.UTC().Format(timeFormat))
	row(w, "source", r.Source)
	row(w, "update_id", r.UpdateID)
	row(w, "kind", r.Kind)
	if r.ChatID != 0 {
		row(w, "chat_id", int64(r.ChatID))
	}
	row(w, "origin", r.Origin)
	row(w, "normaliser", r.NormaliserVersion)
	if len(r.Payload) == 0 {
		row(w, "payload", "none: it was erased")
		return
	}
	row(w, "payload", strconv.Itoa(len(r.Payload))+" bytes")
	var pretty bytes.Buffer
	if json.Indent(&pretty, r.Payload, "", "  ") == nil {
		row(w, pretty.String())
	}
	row(w)
}
