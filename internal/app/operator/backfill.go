package operator

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/tgfleet/tgfleet/internal/account"
	"github.com/tgfleet/tgfleet/internal/content"
	"github.com/tgfleet/tgfleet/internal/fault"
)

func backfillCommand(env Env) *cobra.Command {
	return group("backfill", "Read the history of chats, and see what is missing",
		backfillStart(env), backfillList(env), backfillWatch(env), backfillCancel(env), backfillCoverage(env))
}

// backfillLine is one backfill as the commands print it.
type backfillLine struct {
	ID        int64  `json:"id"`
	Connector string `json:"connector"`
	ChatID    int64  `json:"chat_id"`
	HoleID    int64  `json:"hole_id,omitempty"`
	Takeout   bool   `json:"takeout,omitempty"`
	Status    string `json:"status"`
	Reason    string `json:"reason,omitempty"`
	// Share is how much is read, from 0 to 1.
	Share     float64    `json:"share"`
	Messages  int        `json:"messages"`
	Pages     int        `json:"pages"`
	Newest    int64      `json:"newest_message_id,omitempty"`
	Oldest    int64      `json:"oldest_message_id,omitempty"`
	CreatedAt time.Time  `json:"created_at"`
	StartedAt *time.Time `json:"started_at,omitempty"`
	EndedAt   *time.Time `json:"ended_at,omitempty"`
}

func backfillLineOf(b *account.Backfill, connector string) backfillLine {
	line := backfillLine{
		ID: b.ID, Connector: connector, ChatID: int64(b.ChatID), HoleID: b.HoleID, Takeout: b.Takeout, Status: string(b.Status), Reason: b.Reason,
		Share: b.Share(), Messages: b.Messages, Pages: b.Pages, Newest: int64(b.Top), Oldest: int64(b.Cursor), CreatedAt: b.CreatedAt,
	}
	if !b.StartedAt.IsZero() {
		line.StartedAt = &b.StartedAt
	}
	if !b.EndedAt.IsZero() {
		line.EndedAt = &b.EndedAt
	}
	return line
}

func backfillStart(env Env) *cobra.Command {
	var flags struct {
		chat           int64
		since          string
		takeout, watch bool
	}
	cmd := addJSON(&cobra.Command{
		Use:   "start CONNECTOR --chat ID",
		Short: "Have an account read the history of a chat",
		Long: `Has the listener that holds the account read the history of a chat, the newest messages first, a page of a hundred a second at most, and
slower when Telegram says so. Live updates do not wait for it. It goes on by itself after a restart, from where it was; what the archive has
already is not doubled. CONNECTOR is its label or its id.

--takeout reads in a session for export, in which Telegram answers more often; the account's owner has to allow it in another client.` + settings(),
		Example: `  tgfleet backfill start harbour-desk --chat -1001234567890 --watch
  tgfleet backfill start harbour-desk --chat 4242 --since 2026-01-01`,
		Args: cobra.ExactArgs(1),
	})
	cmd.Flags().Int64Var(&flags.chat, "chat", 0, "the chat, by its id, as -1001234567890")
	cmd.Flags().StringVar(&flags.since, "since", "", "only messages from then on, as 2026-01-01 or 2026-01-01T12:00:00Z (UTC)")
	cmd.Flags().BoolVar(&flags.takeout, "takeout", false, "read in a session for export")
	cmd.Flags().BoolVar(&flags.watch, "watch", false, "stay and show how far it is")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		wanted := account.Backfill{ChatID: content.ChatID(flags.chat), Takeout: flags.takeout}
		var err error
		if wanted.Since, err = parseMoment("--since", flags.since); err != nil {
			return err
		}
		return withConnector(env, cmd, args[0], func(ctx context.Context, s *session, c *account.Connector) error {
			if err := mayRead(c, flags.chat); err != nil {
				return err
			}
			wanted.ConnectorID = c.ID
			b, err := s.db.Backfills().Start(ctx, wanted)
			if err != nil {
				return err
			}
			if flags.watch {
				return s.watchBackfill(ctx, env, b.ID)
			}
			return s.print(backfillLineOf(&b, c.Label), func(w io.Writer) {
				row(w, "Started", b.ID)
				row(w, "Watch it:", fmt.Sprint("tgfleet backfill watch ", b.ID))
			})
		})
	}
	return cmd
}

// mayRead says why an account can't read the history of a chat; nil when nothing speaks against it.
func mayRead(c *account.Connector, chat int64) error {
	switch {
	case chat == 0:
		return errors.New("--chat is missing: want the id of a chat, as -1001234567890")
	case chat == content.TelegramItself:
		return errors.New("--chat 777000 is Telegram's own chat: it holds login codes and is not read")
	case c.Kind == account.BotAccount:
		return fmt.Errorf("%s is a bot: Telegram gives bots no history; take an account of a person", c.Label)
	case c.AccountID == 0:
		return fmt.Errorf("%s has never signed in: \"tgfleet connector login %s\" first", c.Label, c.Label)
	default:
		return nil
	}
}

func backfillList(env Env) *cobra.Command {
	var limit int
	cmd := addJSON(&cobra.Command{
		Use:   "list",
		Short: "List backfills, the newest first",
		Long: `Lists backfills, the newest first: those that somebody has started, and those that fill holes, which listeners start by themselves when
Telegram says that it left messages out.` + settings(),
		Example: "  tgfleet backfill list\n  tgfleet backfill list --json | jq '.[] | select(.status == \"failed\")'",
		Args:    cobra.NoArgs,
	})
	cmd.Flags().IntVar(&limit, "limit", 20, "how many of those that have ended; those that have not are all listed")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return withDatabase(env, cmd, nil, func(ctx context.Context, s *session) error {
			backfills, err := s.db.Backfills().List(ctx)
			if err != nil {
				return err
			}
			labels, err := s.labels(ctx)
			if err != nil {
				return err
			}
			lines := []backfillLine{}
			ended := 0
			for i := range backfills {
				b := &backfills[i]
				if b.Status.Ended() {
					if ended++; ended > limit {
						continue
					}
				}
				lines = append(lines, backfillLineOf(b, labels[b.ConnectorID]))
			}
			return s.print(lines, func(w io.Writer) { printBackfills(w, lines) })
		})
	}
	return cmd
}

// labels returns what the connectors are called, by their ids.
func (s *session) labels(ctx context.Context) (map[string]string, error) {
	connectors, err := s.db.Connectors().List(ctx)
	if err != nil {
		return nil, err
	}
	labels := make(map[string]string, len(connectors))
	for i := range connectors {
		labels[connectors[i].ID] = connectors[i].Label
	}
	return labels, nil
}

func printBackfills(w io.Writer, lines []backfillLine) {
	if len(lines) == 0 {
		row(w, "No backfills yet: tgfleet backfill start CONNECTOR --chat ID")
		return
	}
	row(w, "ID", "CONNECTOR", "CHAT", "FOR", "STATUS", "READ", "MESSAGES", "DOWN TO", "STARTED", "WRONG")
	for i := range lines {
		l := &lines[i]
		purpose, started := "you", ""
		if l.HoleID != 0 {
			purpose = fmt.Sprint("hole ", l.HoleID)
		}
		if l.StartedAt != nil {
			started = l.StartedAt.Format(time.DateTime)
		}
		row(w, l.ID, l.Connector, l.ChatID, purpose, l.Status, fmt.Sprintf("%.0f %%", 100*l.Share), l.Messages, l.Oldest, started, l.Reason)
	}
}

func backfillWatch(env Env) *cobra.Command {
	cmd := addJSON(&cobra.Command{
		Use:   "watch ID",
		Short: "Show how far a backfill is, until it has ended",
		Long: `Shows how far a backfill is, how fast, and how long it will take, until it has ended. Ctrl-C ends the watching, not the backfill. It fails
when the backfill does. --json prints a line whenever something has changed.` + settings(),
		Example: "  tgfleet backfill watch 7",
		Args:    cobra.ExactArgs(1),
	})
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		id, err := backfillID(args[0])
		if err != nil {
			return err
		}
		return withDatabase(env, cmd, nil, func(ctx context.Context, s *session) error { return s.watchBackfill(ctx, env, id) })
	}
	return cmd
}

func backfillCancel(env Env) *cobra.Command {
	cmd := addJSON(&cobra.Command{
		Use:     "cancel ID",
		Short:   "End a backfill; what it has read stays",
		Long:    "Ends a backfill. What it has read stays. A hole that it was to fill is given up." + settings(),
		Example: "  tgfleet backfill cancel 7",
		Args:    cobra.ExactArgs(1),
	})
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		id, err := backfillID(args[0])
		if err != nil {
			return err
		}
		return withDatabase(env, cmd, nil, func(ctx context.Context, s *session) error {
			if err := s.db.Backfills().Cancel(ctx, id); err != nil {
				return knownBackfill(err)
			}
			return s.print(map[string]int64{"cancelled": id}, func(w io.Writer) { row(w, "Cancelled", id) })
		})
	}
	return cmd
}

func backfillID(text string) (int64, error) {
	id, err := strconv.ParseInt(text, 10, 64)
	if err != nil || id < 1 {
		return 0, fmt.Errorf("%q is no backfill: want its number, as `tgfleet backfill list` shows it", text)
	}
	return id, nil
}

// knownBackfill adds to err what to do where there is no such backfill.
func knownBackfill(err error) error {
	if class := fault.ClassOf(err); class == fault.NotFound || class == fault.Permanent {
		return fmt.Errorf("%w; `tgfleet backfill list` shows those that there are", err)
	}
	return err
}
