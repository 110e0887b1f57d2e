package operator

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tgfleet/tgfleet/internal/store"
)

// receiptLine is what an erasure came to.
type receiptLine struct {
	ID        int64          `json:"id"`
	Subject   string         `json:"subject"`
	SubjectID int64          `json:"subject_id"`
	IDs       []int64        `json:"ids"`
	ErasedAt  time.Time      `json:"erased_at"`
	Rows      map[string]int `json:"rows"`
	Who       string         `json:"who"`
	Reason    string         `json:"reason"`
}

func eraseCommand(env Env) *cobra.Command {
	var by moverFlags
	var flags struct {
		user, chat int64
		yes        bool
	}
	cmd := addJSON(&cobra.Command{
		Use:   "erase",
		Short: "Erase what the archive has of a person or of a chat, for good",
		Long: `Erases what the archive has of a person or of a chat, from every table, and prints a receipt. It can't be undone.

Of a person (--user) that is: what they wrote, also where others passed it on, with files and revisions; who they are, where they were
members, what they chose and asked; the private chat with them. Of a chat (--chat) it is all that was said and done in it, under every id
that it has had, and its posts elsewhere. Updates that name the person or the chat stay known to the ledger, but lose their bytes. What
others wrote stays, without quotes and contacts of the person. Dead letters that name them go whole.

The erasure is recorded, with who asked for it. What was received or sent until then never comes back: not from the queues, not from the
spool, not when Telegram repeats it, not by replay. What is written afterwards is kept. When the command is stopped, the same command
erases the rest.

--json prints {"id", "subject", "subject_id", "ids", "erased_at", "rows": {TABLE: N}, "who", "reason"}.` + settings(),
		Example: `  tgfleet erase --user 5839201744 --reason "asked by mail on 2026-11-20"
  tgfleet erase --chat -1001894420716 --yes --json`,
		Args: cobra.NoArgs,
	})
	by.flags(cmd)
	cmd.Flags().Int64Var(&flags.user, "user", 0, "the person's id")
	cmd.Flags().Int64Var(&flags.chat, "chat", 0, "the chat's id, or one that it has had")
	cmd.Flags().BoolVar(&flags.yes, "yes", false, "do not ask")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		var subject store.Subject
		switch {
		case (flags.user == 0) == (flags.chat == 0):
			return errors.New("say whom to erase: either --user ID or --chat ID")
		case flags.user < 0:
			return fmt.Errorf("--user %d: the id of a person is a positive number; for a chat use --chat", flags.user)
		case flags.user > 0:
			subject = store.Subject{Kind: store.UserSubject, ID: flags.user}
		default:
			subject = store.Subject{Kind: store.ChatSubject, ID: flags.chat}
		}
		mover, err := by.mover(cmd)
		if err != nil {
			return err
		}
		if !flags.yes {
			if err := confirm(env, subject); err != nil {
				return err
			}
		}
		return withDatabase(env, cmd, nil, func(ctx context.Context, s *session) error {
			return s.erase(ctx, env, subject, mover)
		})
	}
	return cmd
}

// confirm has whoever sits at the terminal write the id once more.
func confirm(env Env, subject store.Subject) error {
	if !isTerminal(env.Err) {
		return fmt.Errorf("erasing %s can't be undone: say --yes", subject)
	}
	fmt.Fprintf(env.Err, "This erases %s for good. Write the id again to go on: ", subject)
	answer, err := bufio.NewReader(env.In).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("read the answer: %w", err)
	}
	if strings.TrimSpace(answer) != strconv.FormatInt(subject.ID, 10) {
		return errors.New("that is another id: nothing was erased")
	}
	return nil
}

func (s *session) erase(ctx context.Context, env Env, subject store.Subject, mover store.Mover) error {
	line := progress{start: time.Now()}
	if isTerminal(env.Err) && !s.json {
		line.terminal = env.Err
	}
	receipt, err := s.db.Erasures().Erase(ctx, subject, mover, func(done, of int) {
		line.total = of
		line.show(done, "")
	})
	line.clear()
	if err != nil {
		return fmt.Errorf("%w; the same command erases the rest", err)
	}
	shown := receiptLine{
		ID: receipt.ID, Subject: string(subject.Kind), SubjectID: subject.ID, IDs: receipt.IDs, ErasedAt: receipt.ErasedAt,
		Rows: receipt.Rows, Who: mover.Who, Reason: mover.Reason,
	}
	return s.print(shown, func(w io.Writer) { printReceipt(w, &shown) })
}

func printReceipt(w io.Writer, r *receiptLine) {
	row(w, "erasure", r.ID)
	row(w, "of", fmt.Sprintf("%s %d", r.Subject, r.SubjectID))
	if len(r.IDs) > 1 {
		row(w, "ids", strings.Trim(fmt.Sprint(r.IDs), "[]"))
	}
	row(w, "at", r.ErasedAt.UTC().Format(timeFormat))
	row(w, "asked by", r.Who)
	if r.Reason != "" {
		row(w, "reason", r.Reason)
	}
	row(w)
	if len(r.Rows) == 0 {
		row(w, "Nothing was there.")
		return
	}
	row(w, "TABLE", "ROWS")
	for _, table := range slices.Sorted(maps.Keys(r.Rows)) {
		row(w, table, r.Rows[table])
	}
}
